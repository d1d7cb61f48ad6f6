"""The examples of training loops in the docs, run as they stand on a few photos."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from skimage.data import astronaut
from torch import Tensor, nn
from two_processes import run_in_two, set_launcher_environment

from unisim_metrics.functional import unisim_score
from unisim_metrics.models import load_model

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
PHOTOS = 5


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pieces of a photo, too few to fill the last batch of two processes."""
    folder = tmp_path_factory.mktemp("photos")
    photo = Image.fromarray(astronaut())
    for index in range(PHOTOS):
        photo.crop((80 * index, 40, 80 * index + 80, 120)).save(folder / f"{index}.png")
    return folder


def example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / name))


def run_as_script(name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


class TestLightning:
    def test_the_module_learns_and_is_watched(
        self, photos: Path, tmp_path: Path, tiny_clip_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        import lightning

        names = example("lightning_module.py")
        lightning.seed_everything(0)
        untrained = names["Cleaner"](str(tiny_clip_dir))
        trained, checkpoint = names["train"](photos, tmp_path, epochs=2, model=str(tiny_clip_dir))
        printed = capsys.readouterr().out
        assert "'similarity': " in printed
        assert "task:image-image" in printed
        saved = torch.load(checkpoint, weights_only=False)
        assert saved["epoch"] in (0, 1)
        # A checkpoint holds the network that is trained, and nothing of UniSim.
        assert {name.split(".")[0] for name in saved["state_dict"]} == {"net"}
        before, after = untrained.net[0].weight, trained.net[0].weight
        assert 0 < (after - before).abs().max() < 0.1  # two steps from the same start
        restored = names["Cleaner"].load_from_checkpoint(checkpoint, model=str(tiny_clip_dir))
        assert torch.equal(restored.net[0].weight, saved["state_dict"]["net.0.weight"])

    def test_what_is_logged_is_the_score_of_the_whole_validation_set(
        self, photos: Path, tmp_path: Path, tiny_clip_dir: Path
    ) -> None:
        import lightning

        names = example("lightning_module.py")
        cleaner = names["Cleaner"](str(tiny_clip_dir), noise=0.0)  # without noise validation is reproducible
        data = names["Photos"](photos)
        trainer = lightning.Trainer(
            logger=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path
        )
        (logged,) = trainer.validate(cleaner, torch.utils.data.DataLoader(data, batch_size=2), verbose=False)
        originals = torch.stack(list(data))
        with torch.no_grad():
            cleaned = cleaner(originals)
        model = load_model(tiny_clip_dir)
        assert logged["similarity"] == pytest.approx(float(unisim_score(cleaned, originals, model)), abs=1e-5)
        quality = unisim_score(cleaned, None, model, task="quality")
        assert logged["quality"] == pytest.approx(float(quality), abs=1e-5)

    def test_the_script(
        self, photos: Path, tmp_path: Path, tiny_clip_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arguments = [str(photos), "--out", str(tmp_path), "--epochs", "1", "--model", str(tiny_clip_dir)]
        run_as_script("lightning_module.py", arguments, monkeypatch)
        assert list(tmp_path.glob("*.ckpt"))


def train_in_a_process(rank: int, port: int, photos: str, model: str, output: str) -> None:
    """One of two processes under the environment that `accelerate launch` sets."""
    set_launcher_environment(rank, port)
    os.environ["ACCELERATE_USE_CPU"] = "true"
    torch.set_num_threads(1)
    history = example("accelerate_loop.py")["train"](Path(photos), 1, model)
    torch.save(history, Path(output) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


class TestAccelerate:
    def test_the_similarity_is_that_of_the_whole_set_and_rises(
        self, photos: Path, tiny_clip_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        names = example("accelerate_loop.py")
        history = names["train"](photos, 3, str(tiny_clip_dir))
        assert len(history) == 4
        torch.manual_seed(0)
        cleaner: nn.Module = names["Cleaner"]()
        originals, noisy = (torch.stack(images) for images in zip(*names["Photos"](photos), strict=True))
        with torch.no_grad():
            cleaned: Tensor = cleaner(noisy)
        expected = float(unisim_score(cleaned, originals, load_model(tiny_clip_dir)))
        assert history[0] == pytest.approx(expected, abs=1e-5)
        assert max(history[1:]) > history[0]
        printed = capsys.readouterr().out
        assert f"epoch 2: similarity {history[3]:.4f}" in printed
        assert "task:image-image" in printed

    def test_two_processes_score_each_photo_once(
        self, photos: Path, tmp_path: Path, tiny_clip_dir: Path
    ) -> None:
        run_in_two(train_in_a_process, str(photos), str(tiny_clip_dir), str(tmp_path))
        histories = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
        assert histories[0] == histories[1]
        alone = example("accelerate_loop.py")["train"](photos, 0, str(tiny_clip_dir))
        assert histories[0][0] == pytest.approx(alone[0], abs=1e-6)

    def test_the_script(
        self,
        photos: Path,
        tiny_clip_dir: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        run_as_script(
            "accelerate_loop.py", [str(photos), "--epochs", "1", "--model", str(tiny_clip_dir)], monkeypatch
        )
        assert "epoch 0: similarity" in capsys.readouterr().out
