"""What things are called: the names, synonyms and glosses of ImageNet's classes, and what they are kinds of.

Names are those of `open_clip`, synonyms and glosses those that `timm` brings, kinds those of WordNet 3.0's
`data.noun` (Debian's `wordnet-base`), which the data root holds as `wordnet/data.noun`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

TEMPLATES = (
    "a photo of a {}.",
    "a photo of a {}",
    "a {}",
    "{}",
    "a picture of a {}",
    "a close-up photo of a {}",
    "there is a {} in the photo",
    "an image of the {}",
    "a bad photo of a {}.",
    "a cropped photo of the {}.",
)
SMALLEST_KIND, LARGEST_KIND = 2, 400
PERSON = "00007846"
SAID_OF_PEOPLE = re.compile(
    r"\b(baby|boys?|child(ren)?|girls?|guys?|kids?|lady|ladies|man|men|people|person|woman|women)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Concept:
    """A class or a kind of classes.

    Attributes:
        names: What it is called; the first name is the usual one.
        gloss: What WordNet says it is.
        classes: Indices of ImageNet's classes that it covers; a class covers itself.
    """

    names: tuple[str, ...]
    gloss: str
    classes: tuple[int, ...]

    def texts(self) -> list[str]:
        """All texts that stand for it: each name in each template, the names alone, and with the gloss."""
        return [*self.named(), f"{self.names[0]}: {self.gloss}", self.gloss]

    def named(self) -> list[str]:
        """Each name in each template."""
        return [template.format(name) for name in self.names for template in TEMPLATES]


def imagenet_synsets() -> list[str]:
    """The WordNet id of each of ImageNet's 1,000 classes, in their order."""
    return _info("imagenet_synsets.txt").split()


def imagenet_classes() -> list[Concept]:
    """ImageNet's 1,000 classes in their order."""
    from open_clip import IMAGENET_CLASSNAMES

    lemmas, glosses = synonyms(), definitions()
    return [
        Concept(_unique([name, *lemmas[wnid]]), glosses[wnid], (index,))
        for index, (wnid, name) in enumerate(zip(imagenet_synsets(), IMAGENET_CLASSNAMES, strict=True))
    ]


def synonyms() -> dict[str, list[str]]:
    """The names of each of WordNet's noun synsets that ImageNet's 22,000 classes stand for, by their id."""
    rows = (line.split("\t") for line in _info("imagenet_synset_to_lemma.txt").splitlines())
    return {wnid: [name.strip() for name in names.split(",")] for wnid, names in rows}


def definitions() -> dict[str, str]:
    """The gloss of each, by their id."""
    rows = (line.split("\t") for line in _info("imagenet_synset_to_definition.txt").splitlines())
    return {wnid: gloss.split(";")[0].strip() for wnid, gloss in rows}


def kinds(nouns: Path) -> list[Concept]:
    """What ImageNet's classes are kinds of (WordNet's hypernyms), with the classes of each.

    Args:
        nouns: WordNet's `data.noun`.
    """
    entries = dict(_read_nouns(nouns))
    covered: dict[str, set[int]] = defaultdict(set)
    for index, wnid in enumerate(imagenet_synsets()):
        above = [wnid[1:]]
        seen: set[str] = set()
        while above:
            synset = above.pop()
            if synset not in seen:
                seen.add(synset)
                above += entries[synset][2]
        for synset in seen:
            covered[synset].add(index)
    # Of kinds with the same classes one says it: the one that is nearest to them comes last in the file's order.
    return [
        Concept(entries[synset][0], entries[synset][1], tuple(sorted(classes)))
        for synset, classes in sorted(covered.items())
        if SMALLEST_KIND <= len(classes) <= LARGEST_KIND
    ]


def people(nouns: Path) -> list[str]:
    """The ids of those of `synonyms` that are kinds of people, of which ImageNet's classes have three.

    Args:
        nouns: WordNet's `data.noun`.
    """
    below: dict[str, list[str]] = defaultdict(list)
    for synset, (_, _, above) in _read_nouns(nouns):
        for parent in above:
            below[parent].append(synset)
    found: set[str] = set()
    left = [PERSON]
    while left:
        synset = left.pop()
        if synset not in found:
            found.add(synset)
            left += below[synset]
    return [wnid for wnid in synonyms() if wnid[1:] in found]


def says_people(caption: str) -> bool:
    """Whether a caption speaks of people."""
    return SAID_OF_PEOPLE.search(caption) is not None


def _read_nouns(path: Path) -> list[tuple[str, tuple[tuple[str, ...], str, list[str]]]]:
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("  "):
            continue
        data, _, gloss = line.partition(" | ")
        fields = data.split()
        count = int(fields[3], 16)
        names = tuple(fields[4 + 2 * index].replace("_", " ") for index in range(count))
        above = re.findall(r" @i? (\d{8}) n", data)
        rows.append((fields[0], (names, gloss.split(";")[0].strip(), above)))
    return rows


def _info(name: str) -> str:
    return (files("timm.data") / "_info" / name).read_text(encoding="utf-8")


def _unique(names: list[str]) -> tuple[str, ...]:
    return tuple({name.lower(): name for name in reversed(names)}.values())[::-1]
