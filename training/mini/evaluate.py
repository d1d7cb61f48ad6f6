"""The figures of a model's card, on photos, texts and answers that no training step saw.

python -m unisim_metrics.training.mini.evaluate MODEL --data DATA
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unisim_metrics import PerceptualModel, load_model
from unisim_metrics.benchmark.datasets.pickles import read_pickle
from unisim_metrics.functional import choose, cosine_similarity, odd_one_out
from unisim_metrics.images import load_image
from unisim_metrics.prompts import WORDINGS, Wording
from unisim_metrics.signature import signature

from ..distortions import ATTRIBUTE_LOST, DISTORTIONS, LEVELS, Name
from . import photos

EVALUATED: tuple[Name, ...] = ("blur", "noise", "jpeg", "pixelate", "contrast", "saturation")
ODD_ONE_OUT_TRIPLETS = 5000


def severity(
    model: PerceptualModel, root: Path, seed: int, share: float = 1.0, wording: Wording = "authors"
) -> dict[str, float]:
    """Pairs of levels of one distortion on whole held-out BSDS photos, by quality, nearness and attribute."""
    asked = ("quality", *ATTRIBUTE_LOST.values())
    texts = [WORDINGS[wording][task].naive for task in asked]
    prompts = dict(zip(asked, model.embed_texts(texts), strict=True))
    pairs = list(itertools.combinations(range(len(LEVELS)), 2))
    milder, severer = (list(indices) for indices in zip(*pairs, strict=True))
    by_quality: dict[str, list[bool]] = {name: [] for name in EVALUATED}
    by_attribute: dict[str, list[bool]] = {name: [] for name in ATTRIBUTE_LOST.values()}
    by_nearness: list[bool] = []
    paths = photos.bsds_photos(root, held_out=True)
    for index, path in enumerate(paths[: _part(len(paths), share)]):
        photo = load_image(path)
        original = model.embed_images(photo)
        for name in dict.fromkeys((*EVALUATED, *ATTRIBUTE_LOST)):
            rng = np.random.default_rng((seed, index))
            levels = model.embed_images([DISTORTIONS[name](photo, level, rng) for level in LEVELS])
            scores = {task: cosine_similarity(levels, prompt) for task, prompt in prompts.items()}
            if name in EVALUATED:
                by_quality[name] += (scores["quality"][milder] > scores["quality"][severer]).tolist()
                nearness = cosine_similarity(levels, original)
                by_nearness += (nearness[milder] > nearness[severer]).tolist()
            if name in ATTRIBUTE_LOST:
                lost = scores[ATTRIBUTE_LOST[name]]
                by_attribute[ATTRIBUTE_LOST[name]] += (lost[milder] > lost[severer]).tolist()
    return {
        **{f"severity by quality, {name}": float(np.mean(right)) for name, right in by_quality.items()},
        "severity by quality": float(np.mean(list(by_quality.values()))),
        **{f"severity by {name}": float(np.mean(right)) for name, right in by_attribute.items()},
        "nearer of two distortions": float(np.mean(by_nearness)),
    }


def captions(model: PerceptualModel, root: Path, seed: int, share: float = 1.0) -> dict[str, float]:
    """The right caption against a random one, the right photo against a random one (Flickr8k dev)."""
    captioned = photos.flickr8k_captions(root, "dev")
    captioned = dict(itertools.islice(captioned.items(), max(2, _part(len(captioned), share))))
    images = model.embed_images(list(captioned))
    texts = model.embed_texts([caption for five in captioned.values() for caption in five])
    texts = texts.unflatten(0, (len(captioned), -1))
    shift = torch.from_numpy(np.random.default_rng(seed).integers(1, len(captioned), len(captioned)))
    other = (torch.arange(len(captioned)) + shift) % len(captioned)
    right = cosine_similarity(images[:, None], texts)
    return {
        "right caption against a random one": _share(
            right > cosine_similarity(images[:, None], texts[other])
        ),
        "right photo against a random one": _share(right > cosine_similarity(images[other][:, None], texts)),
    }


def materials(model: PerceptualModel, root: Path) -> dict[str, float]:
    """Human answers on triplets of held-out materials, under both lights."""
    right = []
    for folder in photos.material_images(root):
        answers = photos.material_triplets(root, photos.held_out_materials(len(folder)))
        embeddings = model.embed_images(folder)
        reference, closer, farther = (
            embeddings[[getattr(answer, role) for answer in answers]]
            for role in ("reference", "closer", "farther")
        )
        right.append(cosine_similarity(reference, closer) > cosine_similarity(reference, farther))
    return {"held-out materials": _share(torch.cat(right))}


def odd_one_out_accuracy(
    model: PerceptualModel, root: Path, seed: int, share: float = 1.0
) -> dict[str, float]:
    """Triplets of CIFAR-100 photos, two of one coarse class and one of another (a task not trained on)."""
    images, labels = read_cifar100(root / "cifar-100-python" / "cifar-100-python" / "test")
    members = [np.flatnonzero(labels == label) for label in range(20)]
    rng = np.random.default_rng(seed)
    triplets, odd = [], []
    for _ in range(_part(ODD_ONE_OUT_TRIPLETS, share)):
        same, other = rng.choice(20, size=2, replace=False)
        position = int(rng.integers(3))
        triplet = rng.choice(members[same], size=2, replace=False).tolist()
        triplet.insert(position, int(rng.choice(members[other])))
        triplets.append(triplet)
        odd.append(position)
    used, positions = torch.tensor(triplets).unique(return_inverse=True)
    embeddings = torch.cat([model.embed_images(part) for part in images[used].split(500)])
    chosen = choose(odd_one_out(embeddings[positions]))
    return {"odd one out, CIFAR-100": _share(chosen == torch.tensor(odd))}


def read_cifar100(path: Path) -> tuple[Tensor, np.ndarray]:
    """Return the images `[N, 3, 32, 32]`, uint8, and their coarse labels of the official Python file."""
    content = read_pickle(path, encoding="bytes")
    images = torch.from_numpy(np.array(content[b"data"], dtype=np.uint8)).unflatten(1, (3, 32, 32))
    return images, np.array(content[b"coarse_labels"])


def _share(right: Tensor) -> float:
    return float(right.float().mean())


def _part(count: int, share: float) -> int:
    return max(1, round(count * share))


@torch.inference_mode()
def evaluate(
    model: PerceptualModel, root: Path, seed: int = 0, share: float = 1.0, wording: Wording = "authors"
) -> dict[str, float]:
    """Return every figure by its name, on the first `share` of the held-out photos (all held-out materials)."""
    figures = severity(model, root, seed, share, wording) | captions(model, root, seed, share)
    return figures | materials(model, root) | odd_one_out_accuracy(model, root, seed, share)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="what load_model takes")
    parser.add_argument("--data", type=Path, required=True, help="data root, see photos.py")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--prompts", choices=WORDINGS, default="authors", help="whose texts stand for quality and attributes"
    )
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    figures = evaluate(model, arguments.data, arguments.seed, wording=arguments.prompts)
    print(signature(model, None))
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}, indent=2))


if __name__ == "__main__":
    main()
