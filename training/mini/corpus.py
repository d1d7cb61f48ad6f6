"""What both stages draw from: texts and views by their rows, with what they have to do with each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unisim_metrics.prompts import WORDINGS

from . import photos, words
from .recipe import TextPlan
from .views import View

USUAL_TEXT = words.TEMPLATES[0]


class TextBank:
    """Texts after the frozen layers of the text tower.

    Args:
        texts: The texts, none twice.
        pooled: What `minilm.pooled_tokens` gave for each, `[N, D]`.
    """

    def __init__(self, texts: Sequence[str], pooled: Tensor) -> None:
        self.pooled = pooled
        self.rows_by_text = {text: row for row, text in enumerate(texts)}
        # Where all texts lie close together, what they share says nothing about how they differ.
        self.meanings = F.normalize(pooled - pooled.mean(dim=0), dim=-1)

    def known(self, texts: Sequence[str]) -> list[str]:
        """Those of the texts that are in the bank."""
        return [text for text in texts if text in self.rows_by_text]

    def rows(self, texts: Sequence[str]) -> np.ndarray:
        """The rows of texts."""
        return np.array([self.rows_by_text[text] for text in texts])


class Corpus:
    """Views, texts and judgments of the training sets.

    Args:
        root: The data root.
        views: The plan of the views.
        features: The pooled features of the image tower as it came, `[N, C]`.
        classifier: Its classifier's weight `[K, C]` and bias `[K]`.
        bank: All texts of `corpus_texts`.
        nouns: WordNet's `data.noun`.
    """

    def __init__(
        self,
        root: Path,
        views: Sequence[View],
        features: Tensor,
        classifier: tuple[Tensor, Tensor],
        bank: TextBank,
        nouns: Path,
    ) -> None:
        self.views, self.features, self.classifier, self.bank = views, features, classifier, bank
        sharp_of = {
            view.group: row for row, view in enumerate(views) if not view.coarse and not view.distortion
        }
        self.sharp_rows = np.array([sharp_of[view.group] for view in views])
        """For each view the row of the same crop as it was before it was made coarse or damaged."""
        rows_of: dict[str, list[int]] = {}
        for row, view in enumerate(views):
            if view.distortion is None:
                rows_of.setdefault(view.path, []).append(row)
        captions = {
            path.relative_to(root).as_posix(): texts
            for path, texts in photos.flickr8k_captions(root, "train").items()
        }
        self.captioned = [(np.array(rows_of[path]), bank.rows(texts)) for path, texts in captions.items()]
        """Of each captioned photo the rows of its views and of its captions."""
        self.photo_of_view = {
            int(row): photo for photo, (seen, _) in enumerate(self.captioned) for row in seen
        }
        said = [bank.meanings[texts].mean(dim=0) for _, texts in self.captioned]
        self.photo_meanings = F.normalize(torch.stack(said), dim=-1)
        """What the captions of each photo mean together."""
        self.of_people = torch.tensor(
            [any(map(words.says_people, texts)) for texts in captions.values()], dtype=torch.float32
        )
        """Of each captioned photo 1 if it shows people, else 0."""
        self.photos = np.array(
            [row for row, view in enumerate(views) if view.path.startswith(("flickr8k", "tiny-imagenet"))]
        )
        """Rows of the undamaged and damaged views of everyday photos."""
        self.photos = self.photos[[views[row].distortion is None for row in self.photos]]
        self.things = np.array([row for row in self.photos if int(row) not in self.photo_of_view])
        """Those of them that show a thing of a known class, and no caption says people."""
        classes = words.imagenet_classes()
        self.class_rows = [bank.rows(bank.known(concept.texts())) for concept in classes]
        self.usual_rows = bank.rows([USUAL_TEXT.format(concept.names[0]) for concept in classes])
        names = words.synonyms()
        people = [words.Concept(tuple(names[wnid]), "", ()) for wnid in words.people(nouns)]
        self.people_rows = bank.rows(bank.known([text for kind in people for text in kind.named()]))
        """Texts that name people by what they are: an admiral, a chess player."""
        kinds = words.kinds(nouns)
        self.kind_rows = [bank.rows(bank.known(kind.texts())) for kind in kinds]
        self.kind_classes = [np.array(kind.classes) for kind in kinds]
        self.members = torch.zeros(len(kinds), len(classes), dtype=torch.bool)
        for row, kind in enumerate(kinds):
            self.members[row, list(kind.classes)] = True

    def class_probabilities(self, features: Tensor) -> Tensor:
        """What the classifier says of features `[N, C]`: `[N, K]`."""
        weight, bias = self.classifier
        return F.softmax(features @ weight.T + bias, dim=-1)

    def draw_captioned(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw so many photos: the row of a view and of a caption of each."""
        chosen = rng.choice(len(self.captioned), size=count, replace=False)
        pairs = [
            (rng.choice(views), rng.choice(texts)) for views, texts in map(self.captioned.__getitem__, chosen)
        ]
        rows, texts = (np.array(column) for column in zip(*pairs, strict=True))
        return rows, texts

    def caption_meanings(self, rows: np.ndarray) -> Tensor:
        """What the captions say of photos by the rows of their views: unit length, `[N, D]`."""
        return self.photo_meanings[[self.photo_of_view[int(row)] for row in rows]]

    def show_people(self, rows: np.ndarray) -> Tensor:
        """Whether photos show people, by the rows of their views: 0 or 1, `[N]`."""
        return self.of_people[[self.photo_of_view[int(row)] for row in rows]]

    def draw_class_texts(self, rng: np.random.Generator, usual: float = 0.4) -> np.ndarray:
        """Draw a text of each class, with probability `usual` the usual one: rows `[K]`."""
        drawn = np.array([rng.choice(rows) for rows in self.class_rows])
        return np.where(rng.random(len(drawn)) < usual, self.usual_rows, drawn)

    def draw_kinds(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, Tensor]:
        """Draw so many kinds: a text's row and a class of each, and which class is of which kind, `[N, N]`."""
        kinds = rng.choice(len(self.kind_rows), size=min(count, len(self.kind_rows)), replace=False)
        texts = np.array([rng.choice(self.kind_rows[kind]) for kind in kinds])
        classes = np.array([rng.choice(self.kind_classes[kind]) for kind in kinds])
        return texts, classes, self.members[kinds][:, classes]


def corpus_texts(root: Path, nouns: Path, plan: TextPlan, seed: int) -> list[str]:
    """Every text that a stage may draw: captions, classes and kinds, other nouns, prompts of quality."""
    rng = np.random.default_rng(seed)
    texts = [text for five in photos.flickr8k_captions(root, "train").values() for text in five]
    for concept in [*words.imagenet_classes(), *words.kinds(nouns)]:
        usual, *others = concept.texts()
        texts += [usual, *(others[index] for index in rng.permutation(len(others))[: plan.of_each - 1])]
    synonyms = words.synonyms()
    for wnid in rng.choice(sorted(synonyms), size=min(plan.nouns, len(synonyms)), replace=False):
        texts.append(str(rng.choice(words.TEMPLATES)).format(rng.choice(synonyms[wnid])))
    return sorted({*texts, *prompt_texts()})


def prompt_texts() -> list[str]:
    """The texts of quality and of the attributes, in both wordings."""
    prompts = [prompts for wording in WORDINGS.values() for prompts in wording.values()]
    return list(
        dict.fromkeys(text for each in prompts for text in (each.naive, each.positive, each.negative))
    )
