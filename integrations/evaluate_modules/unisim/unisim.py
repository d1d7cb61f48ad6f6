"""UniSim for Hugging Face evaluate: one perceptual similarity metric for images and text (arXiv 2412.10594)."""

from __future__ import annotations

import itertools
import os
from typing import Any

import datasets
import evaluate

from unisim_metrics.integrations.evaluate.files import NamedFiles
from unisim_metrics.integrations.evaluate.inputs import (
    check_lengths,
    store_alike,
    store_choices,
    store_groups,
    store_items,
)
from unisim_metrics.integrations.evaluate.scoring import RANKING, Result, Scorer
from unisim_metrics.tasks import ATTRIBUTES, Modality, modalities

_DESCRIPTION = """
UniSim judges how close images and texts are to each other, as people would: generated images against their prompts or
against a reference image, captions against their image, and images by their quality, brightness, colorfulness,
contrast or sharpness. Scores are cosine similarities in [-1, 1] (with `method="clip-iqa"` probabilities in [0, 1]);
higher is closer. They equal those of `unisim_metrics.UniSimScore`.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: What is judged. Images are PIL images, paths or uint8 arrays [H, W, C]; texts are strings. A str is
        a path where the task wants an image, else a text.
    references: What it is judged against. By config:
        "image-text" (the default): images, and texts.
        "image-image": images, and images.
        "caption": texts, and images.
        "quality", "brightness", "colorfulness", "contrast", "sharpness": images alone.
        "ranking": for each reference (a text, an image, or none) its N candidates, images or texts. Without `task` a
            str is a text here: name image files by `pathlib.Path`, or say `task`.
    choices: For "ranking", optional: the index of the candidate that people chose.
    model_name_or_path: What `unisim_metrics.load_model` takes: a name, a directory, a Hub id, a model. Default:
        "unisim-mini", the small model inside the package; take a full-size one for scores to publish. `model` is
        another name for it.
    reduction: "none" (the default), or "mean" to leave the scores of single samples out of the result.
    method: For quality and attributes: "naive" (the default), or "clip-iqa".
    prompts: For quality and attributes: "authors" (the default: the texts of the authors' code), "paper", or a
        `unisim_metrics.Prompts`.
    task: For "ranking": what cannot be inferred, an attribute, "odd-one-out", or that a str names an image.
    batch_size: How many samples are scored at a time. Default: 64.
    device: Where a model that comes by name runs. Default: a GPU if there is one.

Returns:
    scores: One score a sample; for "ranking" one a candidate.
    mean: Their mean.
    signature: What made them: model and weights, task, preprocessing, version.
    For "ranking", instead of the mean: win_rate and mean_rank of each position, win_matrix (how often position i beats
    j; None where they never met), and with choices accuracy.

Examples:
    >>> import evaluate
    >>> import unisim_metrics
    >>> from skimage import data
    >>> ranking = evaluate.load(unisim_metrics.evaluate_path(), "ranking")
    >>> photo = data.coffee()
    >>> result = ranking.compute(predictions=[[photo, 255 - photo]], references=[photo], choices=[0])
    >>> result["mean_rank"], result["accuracy"]
    ([1.0, 2.0], 1.0)
"""

_CITATION = """
@article{ghazanfari2024towards,
  title={Towards Unified Benchmark and Models for Multi-Modal Perceptual Metrics},
  author={Ghazanfari, Sara and Garg, Siddharth and Flammarion, Nicolas and Krishnamurthy, Prashanth and
          Khorrami, Farshad and Croce, Francesco},
  journal={arXiv preprint arXiv:2412.10594},
  year={2024}
}
"""

CONFIGS = ("image-text", "image-image", "caption", *ATTRIBUTES, RANKING)

# Other names of configs: evaluate's own for the first, and the benchmark's for quality.
_NAMES = {"default": CONFIGS[0], "iqa": "quality"}

_FEATURES = {"image": datasets.Image(decode=False), "text": datasets.Value("string")}
# What a ranking takes: candidates, and references (None: there are none). A text may name an image file, where the
# task of `compute` wants an image: which of them fit together is told there.
_CANDIDATES: tuple[Modality, ...] = ("image", "text")
_REFERENCES: tuple[Modality | None, ...] = ("text", "image", None)


class Unisim(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """UniSim: one perceptual similarity metric for images and text."""

    config_name: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._files = NamedFiles()

    def _info(self) -> evaluate.MetricInfo:
        self.config_name = _NAMES.get(self.config_name, self.config_name)
        if self.config_name not in CONFIGS:
            raise ValueError(
                f"Argument `config_name` must be one of {CONFIGS}, but got {self.config_name!r}."
            )
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=self._accepted_features(),
            homepage="https://arxiv.org/abs/2412.10594",
            license="Apache-2.0",
            reference_urls=["https://arxiv.org/abs/2412.10594"],
        )

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Add one prediction, with its reference."""
        # evaluate.combine names them in the plural.
        example = {"predictions": prediction, "references": reference, **kwargs}
        self.add_batch(**{name: None if value is None else [value] for name, value in example.items()})

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Add a batch of predictions, with their references."""
        unknown = sorted(kwargs.keys() - set(self._feature_names()))
        if unknown:
            raise ValueError(f"Arguments must be among {self._feature_names()}, but got {unknown}.")
        inputs = {"predictions": predictions, "references": references, **kwargs}
        stored = self._store_ranking(**inputs) if self.config_name == RANKING else self._store_pairs(**inputs)
        super().add_batch(**stored)

    def compute(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> Result | None:
        """Score what was added, or predictions and references."""
        inputs = {"predictions": predictions, "references": references}
        if self.config_name == RANKING:
            inputs["choices"] = kwargs.pop("choices", None)
        # Wrong settings are told before what was added is spent. Only the first process scores.
        scorer = Scorer(self.config_name, **kwargs) if self.process_id == 0 else None
        result: Result | None = super().compute(**inputs, scorer=scorer)
        self._files = NamedFiles()
        return result

    def _compute(self, *, scorer: Scorer, **inputs: Any) -> Result:
        try:
            return scorer(**inputs)
        except BaseException:
            self._discard()
            raise

    def _discard(self) -> None:
        """Delete the cache as after a success: its locks would stop the other processes, and the next run."""
        self.data = self.buf_writer = None
        self._files = NamedFiles()
        for lock, path in reversed(list(zip(self.filelocks or (), self.file_paths or (), strict=True))):
            os.remove(path)
            lock.release()

    def __getstate__(self) -> dict[str, Any]:
        if self.writer is not None:
            raise ValueError(
                f"A module must be empty to be pickled, but {len(self)} examples wait for `compute` in its cache."
            )
        return self.__dict__ | {"data": None, "filelocks": None, "file_paths": None, "rendez_vous_lock": None}

    def _accepted_features(self) -> Any:
        if self.config_name == RANKING:
            return [_ranking_features(*kinds) for kinds in itertools.product(_CANDIDATES, _REFERENCES)]
        kinds = zip(("predictions", "references"), modalities(self.config_name), strict=True)
        return datasets.Features({name: _FEATURES[kind] for name, kind in kinds if kind is not None})

    def _infer_feature_from_batch(self, batch: dict[str, Any]) -> Any:
        if self.config_name != RANKING:
            return self.features
        if not batch["predictions"]:
            return self.features[0]
        first = batch["predictions"][0][0]
        return _ranking_features(_kind(first) or "image", _kind(batch["references"][0]))

    def _store_pairs(self, **inputs: Any) -> dict[str, Any]:
        stored = {}
        for name, kind in zip(("predictions", "references"), modalities(self.config_name), strict=True):
            if kind is None:  # evaluate.combine hands references to every module
                continue
            self._require(name, inputs[name])
            stored[name] = store_items(inputs[name], kind, name, self._files)
        check_lengths(stored)
        return stored

    def _store_ranking(self, predictions: Any, references: Any, choices: Any = None) -> dict[str, Any]:
        self._require("predictions", predictions)
        groups = store_groups(predictions, "predictions", self._files)
        nothing = [None] * len(groups)
        stored = {
            "predictions": groups,
            "references": nothing
            if references is None
            else store_alike(references, "references", self._files),
            "choices": nothing if choices is None else choices,
        }
        check_lengths(stored)
        stored["choices"] = store_choices(stored["choices"], groups)
        if groups and self.writer is not None:
            features = self._infer_feature_from_batch(stored)
            if features != self.selected_feature_format:
                raise ValueError(
                    "Arguments `predictions` and `references` must be of the same kinds as in earlier batches,"
                    f" {self.selected_feature_format}, but got {features}."
                )
        return stored

    def _require(self, name: str, value: Any) -> None:
        if value is None:
            raise ValueError(f"Argument `{name}` must be given for the config {self.config_name!r}.")


def _ranking_features(candidates: Modality, references: Modality | None) -> datasets.Features:
    reference = datasets.Value("null") if references is None else _FEATURES[references]
    choices = datasets.Value("int64")
    return datasets.Features(
        {"predictions": [_FEATURES[candidates]], "references": reference, "choices": choices}
    )


def _kind(stored: Any) -> Modality | None:
    if stored is None:
        return None
    return "text" if isinstance(stored, str) else "image"
