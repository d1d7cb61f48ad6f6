"""The figures of a model's card, on photos, texts and answers that no training step saw.

python -m unisim_metrics.training.mini.evaluate MODEL [MODEL ...] --data DATA
"""

from __future__ import annotations

import argparse
import itertools
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unisim_metrics import PerceptualModel, load_model
from unisim_metrics.benchmark.datasets.pickles import read_pickle
from unisim_metrics.functional import choose, cosine_similarity, odd_one_out
from unisim_metrics.images import load_image
from unisim_metrics.prompts import WORDINGS
from unisim_metrics.signature import signature

from ..distortions import ATTRIBUTE_LOST, DISTORTIONS, LEVELS, Name
from ..recipe import read_table
from . import photos
from .corpus import USUAL_TEXT

EVALUATED: tuple[Name, ...] = ("blur", "noise", "jpeg", "pixelate", "contrast", "saturation")
ODD_ONE_OUT_TRIPLETS = 5000
ACROSS_PAIRS = 3000
UNUSUAL_PAIRS = 200
SEVERE = 4  # the fifth of the five levels
QUALITY, PAPER = "severity by quality", ", paper's wording"
GALLERY = Path(__file__).parent / "gallery.toml"
# Photographs of the demo, each with its prompt, and those of torchmetrics' own gallery.
SIX = {
    "skimage/data/astronaut.png": "a smiling woman in an orange suit",
    "skimage/data/chelsea.png": "a close-up of a cat",
    "skimage/data/coffee.png": "a cup of coffee on a wooden table",
    "skimage/data/rocket.jpg": "a rocket on its launch pad at night",
    "skimage/data/motorcycle_left.png": "a motorcycle in a garage",
    "skimage/data/hubble_deep_field.jpg": "stars in the night sky",
}
THREE = {
    "skimage/data/astronaut.png": "a photo of an astronaut",
    "skimage/data/chelsea.png": "a photo of a cat",
    "skimage/data/coffee.png": "a photo of a cup of coffee",
}


@dataclass(frozen=True)
class Judgments:
    """What one figure is the share of.

    Attributes:
        right: Whether each judgment is right.
        groups: What each judgment shares with others (a photo), one number a judgment.
    """

    right: np.ndarray
    groups: np.ndarray

    @property
    def share(self) -> float:
        """The share that is right."""
        return float(np.mean(self.right))

    def interval(self, resamples: int = 2000) -> tuple[float, float]:
        """The 95 % interval of the share, by drawing whole groups again (percentile bootstrap, seed 0)."""
        _, place = np.unique(self.groups, return_inverse=True)
        right = np.bincount(place, weights=self.right)
        count = np.bincount(place)
        drawn = np.random.default_rng(0).integers(len(count), size=(resamples, len(count)))
        low, high = np.quantile(right[drawn].sum(axis=1) / count[drawn].sum(axis=1), (0.025, 0.975))
        return float(low), float(high)


def severity(model: PerceptualModel, root: Path, seed: int, share: float = 1.0) -> dict[str, Judgments]:
    """Pairs of levels of one distortion on whole held-out BSDS photos, by quality, nearness and attribute.

    By quality and attributes with the texts of the authors' code, and with those of the paper. Also every original over
    the severe version of other photos, by quality.
    """
    asked = {
        f"severity by {task}{suffix}": prompts[task].naive
        for prompts, suffix in ((WORDINGS["authors"], ""), (WORDINGS["paper"], PAPER))
        for task in ("quality", *ATTRIBUTE_LOST.values())
    }
    asking = dict(zip(asked, model.embed_texts(list(asked.values())), strict=True))
    pairs = list(itertools.combinations(range(len(LEVELS)), 2))
    milder, severer = (list(indices) for indices in zip(*pairs, strict=True))
    found: dict[str, list[Tensor]] = defaultdict(list)
    originals, severe = [], []
    paths = photos.bsds_photos(root, held_out=True)
    paths = paths[: _part(len(paths), share)]
    for index, path in enumerate(paths):
        photo = load_image(path)
        original = model.embed_images(photo)
        originals.append(float(cosine_similarity(original, asking[QUALITY])))
        for name in dict.fromkeys((*EVALUATED, *ATTRIBUTE_LOST)):
            rng = np.random.default_rng((seed, index))
            levels = model.embed_images([DISTORTIONS[name](photo, level, rng) for level in LEVELS])
            scores = {figure: cosine_similarity(levels, prompt) for figure, prompt in asking.items()}
            right = {figure: of[milder] > of[severer] for figure, of in scores.items()}
            if name in EVALUATED:
                severe.append(float(scores[QUALITY][SEVERE]))
                for figure in (QUALITY, QUALITY + PAPER):
                    found[figure].append(right[figure])
                found[f"{QUALITY}, {name}"].append(right[QUALITY])
                nearness = cosine_similarity(levels, original)
                found["nearer of two distortions"].append(nearness[milder] > nearness[severer])
            if name in ATTRIBUTE_LOST:
                for suffix in ("", PAPER):
                    figure = f"severity by {ATTRIBUTE_LOST[name]}{suffix}"
                    found[figure].append(right[figure])
    figures = {}
    for figure, parts in found.items():
        # Photo by photo, some of them with several distortions each.
        owners = np.repeat(np.arange(len(paths)), len(parts) // len(paths) * len(pairs))
        figures[figure] = Judgments(torch.cat(parts).numpy(), owners)
    return figures | {"original over the severe version of another photo": _across(originals, severe, seed)}


def _across(originals: list[float], severe: list[float], seed: int) -> Judgments:
    rng = np.random.default_rng((seed, 1))
    kinds = len(severe) // len(originals)
    best = rng.integers(len(originals), size=ACROSS_PAIRS)
    other = (best + rng.integers(1, max(len(originals), 2), size=ACROSS_PAIRS)) % len(originals)
    worst = np.array(severe)[other * kinds + rng.integers(kinds, size=ACROSS_PAIRS)]
    return Judgments(np.array(originals)[best] > worst, best)


def captions(model: PerceptualModel, root: Path, seed: int, share: float = 1.0) -> dict[str, Judgments]:
    """The right caption against a random one, the right photo against a random one (Flickr8k dev)."""
    captioned = photos.flickr8k_captions(root, "dev")
    captioned = dict(itertools.islice(captioned.items(), max(2, _part(len(captioned), share))))
    images = model.embed_images(list(captioned))
    texts = model.embed_texts([caption for five in captioned.values() for caption in five])
    texts = texts.unflatten(0, (len(captioned), -1))
    shift = torch.from_numpy(np.random.default_rng(seed).integers(1, len(captioned), len(captioned)))
    other = (torch.arange(len(captioned)) + shift) % len(captioned)
    right = cosine_similarity(images[:, None], texts)
    groups = np.repeat(np.arange(len(captioned)), texts.shape[1])
    compared = {
        "right caption against a random one": cosine_similarity(images[:, None], texts[other]),
        "right photo against a random one": cosine_similarity(images[other][:, None], texts),
    }
    return {name: Judgments((right > wrong).flatten().numpy(), groups) for name, wrong in compared.items()}


def materials(model: PerceptualModel, root: Path) -> dict[str, Judgments]:
    """Human answers on triplets of held-out materials, under both lights."""
    right, references = [], []
    for folder in photos.material_images(root):
        answers = photos.material_triplets(root, photos.held_out_materials(len(folder)))
        embeddings = model.embed_images(folder)
        reference, closer, farther = (
            embeddings[[getattr(answer, role) for answer in answers]]
            for role in ("reference", "closer", "farther")
        )
        right.append(cosine_similarity(reference, closer) > cosine_similarity(reference, farther))
        references += [answer.reference for answer in answers]
    return {"held-out materials": Judgments(torch.cat(right).numpy(), np.array(references))}


def cifar(model: PerceptualModel, root: Path, seed: int, share: float = 1.0) -> dict[str, Judgments]:
    """CIFAR-100's test photos, on which no step trained: their names, and which of three is the odd one.

    Of a triplet two photos are of one coarse class and one of another.
    """
    images, fine, coarse, names = read_cifar100(root / "cifar-100-python")
    kept = np.random.default_rng((seed, 2)).permutation(len(images))[: _part(len(images), share)]
    images, fine, coarse = images[kept], fine[kept], coarse[kept]
    embeddings = torch.cat([model.embed_images(part) for part in images.split(500)])
    named = model.embed_texts([USUAL_TEXT.format(name.replace("_", " ")) for name in names])
    called = choose(cosine_similarity(embeddings[:, None], named)).numpy()
    members = [np.flatnonzero(coarse == label) for label in range(20)]
    members = [rows for rows in members if len(rows) > 1]
    rng = np.random.default_rng(seed)
    triplets, odd = [], []
    for _ in range(_part(ODD_ONE_OUT_TRIPLETS, share)):
        same, other = rng.choice(len(members), size=2, replace=False)
        position = int(rng.integers(3))
        triplet = rng.choice(members[same], size=2, replace=False).tolist()
        triplet.insert(position, int(rng.choice(members[other])))
        triplets.append(triplet)
        odd.append(position)
    chosen = choose(odd_one_out(embeddings[torch.tensor(triplets)])).numpy()
    return {
        "name among 100, CIFAR-100": Judgments(called == fine, np.arange(len(fine))),
        "odd one out, CIFAR-100": Judgments(chosen == np.array(odd), np.arange(len(odd))),
    }


def gallery(model: PerceptualModel) -> dict[str, Judgments]:
    """The photograph of a prompt, among those that come with installed packages."""
    asked = {
        "photograph of a prompt among 24": read_table(GALLERY),
        "photograph of a prompt among the demo's six": {name: [text] for name, text in SIX.items()},
        "photograph of a name among three": {name: [text] for name, text in THREE.items()},
    }
    figures = {}
    for figure, prompts in asked.items():
        images = model.embed_images([installed_file(name) for name in prompts])
        owners = np.repeat(np.arange(len(prompts)), [len(texts) for texts in prompts.values()])
        texts = model.embed_texts([text for texts in prompts.values() for text in texts])
        scores = cosine_similarity(texts[:, None], images)
        figures[figure] = Judgments(choose(scores).numpy() == owners, owners)
        if figure.endswith("three"):
            named = choose(scores.T).numpy() == np.arange(len(prompts))
            figures["name of a photograph among three"] = Judgments(named, np.arange(len(prompts)))
    return figures


def unusual_characters(model: PerceptualModel) -> dict[str, Judgments]:
    """Whether texts that differ only after an unusual character have embeddings that differ."""
    characters = "’“—é%$/|*+=[_@😀🎉→½中猫ж한€©~^{\\"
    words = ("cat", "dog", "red car", "old house", "cup of tea", "bright sky", "child", "boat")
    pairs = [
        (f"a photo {character}{space}{one}", f"a photo {character}{space}{other}")
        for character, space in itertools.product(characters, ("", " "))
        for one, other in itertools.combinations(words, 2)
    ]
    chosen = np.random.default_rng(0).permutation(len(pairs))[:UNUSUAL_PAIRS]
    firsts, seconds = zip(*(pairs[index] for index in chosen), strict=True)
    differ = (model.embed_texts(firsts) - model.embed_texts(seconds)).abs().amax(dim=-1) > 1e-3
    return {"texts told apart after an unusual character": Judgments(differ.numpy(), np.arange(len(firsts)))}


def installed_file(name: str) -> Path:
    """A file inside an installed package, by `package/path`.

    Raises:
        ModuleNotFoundError: If the package is missing, or came without the file.
    """
    package, _, rest = name.partition("/")
    spec = find_spec(package)
    path = None if spec is None or spec.origin is None else Path(spec.origin).parent / rest
    if path is None or not path.is_file():
        raise ModuleNotFoundError(
            f"The photograph {name} is in the package {package}, which is not installed."
        )
    return path


def read_cifar100(folder: Path) -> tuple[Tensor, np.ndarray, np.ndarray, list[str]]:
    """Return the test images `[N, 3, 32, 32]`, uint8, their fine and coarse labels and the names of the fine ones."""
    content = read_pickle(folder / "test", encoding="bytes")
    meta = read_pickle(folder / "meta", encoding="bytes")
    images = torch.from_numpy(np.array(content[b"data"], dtype=np.uint8)).unflatten(1, (3, 32, 32))
    names = [name.decode("ascii") for name in meta[b"fine_label_names"]]
    return images, np.array(content[b"fine_labels"]), np.array(content[b"coarse_labels"]), names


def _part(count: int, share: float) -> int:
    return max(1, round(count * share))


@torch.inference_mode()
def evaluate(model: PerceptualModel, root: Path, seed: int = 0, share: float = 1.0) -> dict[str, Judgments]:
    """Return every figure by its name, on the first `share` of the held-out photos (all held-out materials)."""
    return {
        **severity(model, root, seed, share),
        **captions(model, root, seed, share),
        **materials(model, root),
        **cifar(model, root, seed, share),
        **gallery(model),
        **unusual_characters(model),
    }


def table(figures: Mapping[str, Mapping[str, Judgments]]) -> str:
    """A Markdown table of the figures of several models, with their 95 % intervals."""
    lines = [f"| held-out figure | n | {' | '.join(figures)} |", f"|---|---|{'---|' * len(figures)}"]
    for name in next(iter(figures.values())):
        cells = []
        for judged in figures.values():
            low, high = judged[name].interval()
            cells.append(f"{judged[name].share:.3f} [{low:.3f}, {high:.3f}]")
        count = len(next(iter(figures.values()))[name].right)
        lines.append(f"| {name} | {count:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+", help="what load_model takes; several stand side by side")
    parser.add_argument("--data", type=Path, required=True, help="data root, see photos.py")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="of the held-out photos")
    arguments = parser.parse_args()
    figures = {}
    for name in arguments.models:
        model = load_model(name)
        print(signature(model, None))
        figures[name] = evaluate(model, arguments.data, arguments.seed, arguments.share)
    print(table(figures))


if __name__ == "__main__":
    main()
