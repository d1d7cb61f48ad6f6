"""Every judge on real photographs of odd sizes, in batches of any kind, and what it says of files that are not its."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clip_files import random_weights, write
from judge_cases import BEFORE, CASES, Case
from judge_photos import CAPTIONS, PHOTOS
from oracle import tensor_of
from test_clip_judges import SIZES

from unisim_metrics import UniSimScore, load_model
from unisim_metrics.errors import CheckpointError
from unisim_metrics.models.registry import REGISTRY

BY_NAME = {case.name: case for case in CASES}
every_judge = pytest.mark.parametrize("case", CASES, ids=list(BY_NAME))


def test_the_photographs() -> None:
    assert len(PHOTOS) == len(CAPTIONS) == len(set(CAPTIONS)) == 24
    assert all(side % 2 for photo in PHOTOS for side in photo.size)
    assert len({photo.size for photo in PHOTOS}) > 20


def test_every_judge_is_here() -> None:
    assert set(BY_NAME) == {entry.name for entry in REGISTRY.values() if entry.kind == "judge"}


@every_judge
def test_in_any_batch(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = load_model(f"{case.name}:{case.write(tmp_path, monkeypatch)}")
    some = np.random.default_rng(0).permutation(len(PHOTOS))[:8]
    batches = [np.arange(len(PHOTOS)), *np.split(some, [1, 3])]
    for task, expected in case.answer(monkeypatch).items():
        scores = UniSimScore(model, task, reduction="none")  # type: ignore[arg-type]
        scale = max(1.0, np.abs(expected).max())
        for batch in batches:
            # Pillow images and their bytes in turn
            photos = [
                tensor_of(PHOTOS[row]) if row % 3 == 0 and _is_exact(case) else PHOTOS[row] for row in batch
            ]
            others: dict[str, Any] = {
                "image-text": [CAPTIONS[row] for row in batch],
                "image-image": [BEFORE[row] for row in batch],
                "quality": None,
            }
            found = scores(photos, others[task]).numpy()
            np.testing.assert_allclose(found / scale, expected[batch] / scale, atol=1e-5)


def _is_exact(case: Case) -> bool:
    """Whether the judge sees of bytes what it sees of a Pillow image: others resize them within 2 levels of 255."""
    return case.name in ("liqe", "lpips-alex", "lpips-vgg", "dists", "hpsv3")


class TestFiles:
    @pytest.fixture(params=CASES, ids=list(BY_NAME))
    def case(self, request: pytest.FixtureRequest) -> Case:
        case: Case = request.param
        return case

    @pytest.fixture
    def written(self, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
        """What `load_model` is given, and the file in it that holds weights."""
        path = case.write(tmp_path, monkeypatch)
        return f"{case.name}:{path}", path / case.file if case.file else path

    def test_weights_that_are_not_the_models(self, case: Case, written: tuple[str, Path]) -> None:
        name, file = written
        content = torch.load(file, weights_only=True)
        weights = content if case.key is None else content[case.key]
        tensor = weights[case.tensor]
        for changed, message in (
            ({}, "1 is missing"),
            ({case.tensor: tensor, "other": tensor}, "1 is extra"),
            ({case.tensor: tensor[..., :-1]}, "1 is of a wrong shape"),
            ({case.tensor: torch.full_like(tensor, torch.nan)}, "1 is not finite"),
        ):
            others = {key: value for key, value in weights.items() if key != case.tensor}
            damaged = {**others, **changed}
            torch.save(damaged if case.key is None else {case.key: damaged}, file)
            with pytest.raises(CheckpointError, match=rf"{file.name} must be .*{message}"):
                load_model(name)

    def test_another_judges_file(self, case: Case, written: tuple[str, Path]) -> None:
        name, file = written
        other = "ViT-L-14" if case.name.startswith("hpsv2") else "ViT-H-14"
        write(file, random_weights(SIZES[other]))
        told = "must be exactly the model's|must hold named tensors only, but has dict under 'state_dict'"
        with pytest.raises(CheckpointError, match=rf"{file.name} ({told})"):
            load_model(name)

    def test_a_pickle_with_a_payload(self, written: tuple[str, Path], tmp_path: Path) -> None:
        class Payload:
            def __reduce__(self) -> Any:
                return Path.touch, (tmp_path / "ran",)

        name, file = written
        torch.save({"state_dict": Payload()}, file, pickle_module=pickle)
        with pytest.raises(CheckpointError, match=r"refused|cannot be read"):
            load_model(name)
        assert not (tmp_path / "ran").exists()

    def test_a_file_cut_short(self, written: tuple[str, Path]) -> None:
        name, file = written
        file.write_bytes(file.read_bytes()[:1000])
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_model(name)
