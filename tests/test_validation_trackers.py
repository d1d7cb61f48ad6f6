"""A validation in trackers: logged through Accelerate and Lightning, and read back by the trackers' own readers."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from unisim_metrics.integrations.validation import UniSimValidation, ValidationResult
from unisim_metrics.integrations.validation.trackers import caption, log_validation, visible

accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")

HOSTILE = [
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "**bold** [link](javascript:alert(3)) `code` $x$ # | a",
    "two\nlines\r\n\t\x00\x1b[31m",
    "\u202eturned round\u2028",
    "half a pair \ud83d",
    "",
    "long" * 500,
]
JUDGES = ("quality", "my own: <b>")


def brightness(images: Tensor, *_: Any) -> Tensor:
    return images.double().mean(dim=(1, 2, 3))


def noise(prompts: list[str], generators: list[torch.Generator]) -> Tensor:
    return torch.stack([torch.rand(3, 16, 16, generator=generator) for generator in generators])


@pytest.fixture(scope="module")
def results() -> list[ValidationResult]:
    """Of two steps; the pictures of the second are darker."""
    validation = UniSimValidation(HOSTILE, dict.fromkeys(JUDGES, brightness), seeds_per_prompt=2)
    return [validation(3, noise), validation(8, lambda *batch: noise(*batch) / 2)]


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep what trackers write, and the state that Accelerate shares, to a test."""
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_DIR": str(tmp_path),
        "MLFLOW_TRACKING_URI": (tmp_path / "mlruns").as_uri(),
        "MLFLOW_ALLOW_FILE_STORE": "true",
    }.items():
        monkeypatch.setenv(name, value)
    yield
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def trackio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        # It reads where to write once, when it is imported.
        patch.setenv("TRACKIO_DIR", str(tmp_path_factory.mktemp("trackio")))
        yield pytest.importorskip("trackio", reason="trackio is not installed")


def log_through_accelerate(name: str, folder: Path, results: list[ValidationResult]) -> None:
    accelerator = accelerate.Accelerator(log_with=name, project_dir=folder, cpu=True)
    accelerator.init_trackers("project")
    for result in results:
        log_validation(accelerator, result)
        accelerator.log({"loss": 0.5}, step=result.step)
    accelerator.end_training()


def captions(result: ValidationResult) -> list[str]:
    return [caption(picture) for picture in result.pictures]


def same_picture(content: bytes | Path, image: Image.Image) -> bool:
    with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as found:
        return np.array_equal(np.asarray(found.convert("RGB")), np.asarray(image))


class TestTensorBoard:
    @pytest.fixture(autouse=True)
    def installed(self) -> None:
        pytest.importorskip("tensorboard", reason="tensorboard is not installed")

    def check(self, folder: Path, results: list[ValidationResult]) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        (events,) = folder.rglob("events.out.tfevents.*")
        found = EventAccumulator(str(events), {"images": 0, "scalars": 0, "tensors": 0}).Reload()
        tags = found.Tags()
        for name in ("mean", "gain", "gain_low", "change_high"):
            expected = {
                result.step: result.scalars()[f"validation/quality/{name}"]
                for result in results
                if f"validation/quality/{name}" in result.scalars()
            }
            curve = {event.step: event.value for event in found.Scalars(f"validation/quality/{name}")}
            assert curve == pytest.approx(expected, abs=1e-6) and curve
        assert len([tag for tag in tags["scalars"] if tag.startswith("validation/")]) == 18
        for number in range(len(HOSTILE)):
            images = found.Images(f"validation/pictures/{number:02}")
            assert [image.step for image in images] == [3, 8]
            assert all(
                same_picture(image.encoded_image_string, result.pictures[number].image)
                for image, result in zip(images, results, strict=True)
            )
        texts = found.Tensors("validation/captions/text_summary")
        for text, result in zip(texts, results, strict=True):
            self.check_text(text.tensor_proto.string_val[0], captions(result))

    def check_text(self, markdown: bytes, expected: list[str]) -> None:
        """As TensorBoard shows it: nothing but text, and all of it."""
        from tensorboard.plugin_util import markdown_to_safe_html

        class Page(HTMLParser):
            def __init__(self) -> None:
                super().__init__()
                self.tags: set[str] = set()
                self.text = ""

            def handle_starttag(self, tag: str, attrs: Any) -> None:
                self.tags.add(tag)

            def handle_data(self, data: str) -> None:
                self.text += data

        page = Page()
        page.feed(markdown_to_safe_html(markdown))
        assert page.tags == {"pre", "code"}
        lines = page.text.strip("\n").splitlines()
        assert lines == [f"{number:02}  {line}" for number, line in enumerate(expected)]

    def test_through_accelerate(self, tmp_path: Path, results: list[ValidationResult]) -> None:
        log_through_accelerate("tensorboard", tmp_path, results)
        self.check(tmp_path, results)

    @pytest.mark.parametrize("library", ["lightning.pytorch", "pytorch_lightning"])
    def test_through_lightning(self, library: str, tmp_path: Path, results: list[ValidationResult]) -> None:
        loggers = pytest.importorskip(f"{library}.loggers", reason=f"{library} is not installed")
        logger = loggers.TensorBoardLogger(tmp_path)
        for result in results:
            log_validation(logger, result)
        logger.finalize("success")
        self.check(tmp_path, results)

    def test_by_its_own_writer(self, tmp_path: Path, results: list[ValidationResult]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(tmp_path) as writer:
            for result in results:
                log_validation([writer], result)
        self.check(tmp_path, results)


class TestWandb:
    @pytest.fixture(autouse=True)
    def installed(self) -> None:
        pytest.importorskip("wandb", reason="wandb is not installed")

    def check(self, folder: Path, results: list[ValidationResult], step_key: str) -> None:
        import wandb

        wandb.teardown()  # which waits until all is written
        (log,) = folder.glob("wandb/offline-run-*/run-*.wandb")
        rows = [row for row in history_of(log) if "validation/quality/mean" in row]
        assert [row[step_key] for row in rows] == [3, 8]
        for row, result in zip(rows, results, strict=True):
            for name, value in result.scalars().items():
                assert row[name] == pytest.approx(value)
            assert row["validation/pictures.captions"] == captions(result)
            files = [log.parent / "files" / name for name in row["validation/pictures.filenames"]]
            assert all(
                same_picture(file, picture.image)
                for file, picture in zip(files, result.pictures, strict=True)
            )

    def test_through_accelerate(self, tmp_path: Path, results: list[ValidationResult]) -> None:
        log_through_accelerate("wandb", tmp_path, results)
        self.check(tmp_path, results, "_step")

    def test_through_lightning(self, tmp_path: Path, results: list[ValidationResult]) -> None:
        import wandb
        from lightning.pytorch.loggers import WandbLogger

        logger = WandbLogger(save_dir=tmp_path, offline=True)
        for result in results:
            logger.log_metrics({"loss": 0.5}, step=result.step)
            log_validation(logger, result)
        wandb.finish()
        self.check(tmp_path, results, "trainer/global_step")


def history_of(log: Path) -> Iterator[dict[str, Any]]:
    """The rows that an offline run of W&B wrote: records of its own protocol, in a log of LevelDB's form."""
    from wandb.proto import wandb_internal_pb2

    data, place, record = log.read_bytes(), 7, b""
    block, head = 2**15, 7
    while place + head <= len(data):
        if block - place % block < head:
            place += block - place % block
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        record += data[place + head : place + head + size]
        place += head + size
        if kind in (1, 4):  # whole, or the last part
            message = wandb_internal_pb2.Record()
            message.ParseFromString(record)
            record = b""
            if message.HasField("history"):
                yield {
                    ".".join(item.nested_key) or item.key: json.loads(item.value_json)
                    for item in message.history.item
                }


class TestMlflow:
    @pytest.fixture(autouse=True)
    def installed(self) -> None:
        pytest.importorskip("mlflow", reason="mlflow is not installed")

    def check(self, run_id: str, results: list[ValidationResult]) -> None:
        from mlflow import MlflowClient

        client = MlflowClient()
        for name in ("quality/mean", "quality/gain_low"):
            metrics = client.get_metric_history(run_id, f"validation/{name}")
            expected = {
                result.step: result.scalars()[f"validation/{name}"]
                for result in results
                if f"validation/{name}" in result.scalars()
            }
            assert {metric.step: metric.value for metric in metrics} == pytest.approx(expected)
        assert client.get_metric_history(run_id, "validation/my own_ _b_/mean")
        folder = Path(client.download_artifacts(run_id, ""))
        for result in results:
            written = json.loads(
                (folder / f"validation/captions/{result.step:08}.json").read_text(encoding="utf-8")
            )
            assert written == captions(result)
            for number, picture in enumerate(result.pictures):
                (file,) = folder.glob(f"images/validation~pictures~{number:02}*step+{result.step}+*.png")
                assert same_picture(file, picture.image)

    def test_through_accelerate(self, tmp_path: Path, results: list[ValidationResult]) -> None:
        import mlflow

        log_through_accelerate("mlflow", tmp_path, results)
        (run_id,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
        self.check(run_id.info.run_id, results)

    def test_through_lightning(self, tmp_path: Path, results: list[ValidationResult]) -> None:
        from lightning.pytorch.loggers import MLFlowLogger

        logger = MLFlowLogger(tracking_uri=(tmp_path / "mlruns").as_uri())
        for result in results:
            log_validation(logger, result)
        self.check(logger.run_id, results)


class TestTrackio:
    def test_through_accelerate(self, trackio: Any, tmp_path: Path, results: list[ValidationResult]) -> None:
        from trackio.sqlite_storage import SQLiteStorage

        log_through_accelerate("trackio", tmp_path, results)
        (run,) = trackio.Api().runs("project")
        rows = [
            row for row in SQLiteStorage.get_logs("project", run.name) if "validation/quality/mean" in row
        ]
        assert [row["step"] for row in rows] == [3, 8]
        media = Path(os.environ["TRACKIO_DIR"]) / "media"
        for row, result in zip(rows, results, strict=True):
            for name, value in result.scalars().items():
                assert row[name] == pytest.approx(value)
            pictures = [row[f"validation/pictures/{number:02}"] for number in range(len(HOSTILE))]
            assert [picture["caption"] for picture in pictures] == captions(result)
            assert all(
                same_picture(media / found["file_path"], picture.image)
                for found, picture in zip(pictures, result.pictures, strict=True)
            )


class TestOthers:
    def test_a_logger_of_lightning_gets_the_curves(
        self, tmp_path: Path, results: list[ValidationResult]
    ) -> None:
        loggers = pytest.importorskip("lightning.pytorch.loggers")
        logger = loggers.CSVLogger(tmp_path)
        log_validation(logger, results[1], prefix="eval")
        logger.save()
        (file,) = tmp_path.rglob("metrics.csv")
        (row,) = csv.DictReader(io.StringIO(file.read_text(encoding="utf-8")))
        assert row.pop("step") == "8"
        assert {name: float(value) for name, value in row.items()} == pytest.approx(
            results[1].scalars("eval")
        )

    def test_a_tracker_of_accelerate_of_one_s_own_gets_the_curves(
        self, results: list[ValidationResult]
    ) -> None:
        logged: list[Any] = []

        class Mine(accelerate.tracking.GeneralTracker):  # type: ignore[misc]
            name = "mine"
            requires_logging_directory = False
            tracker = None

            def store_init_configuration(self, values: Any) -> None:
                raise NotImplementedError

            def log(self, values: Any, step: int | None = None, **settings: Any) -> None:
                logged.append((step, values))

        accelerator = accelerate.Accelerator(log_with=Mine(), cpu=True)
        accelerator.init_trackers("project")
        log_validation(accelerator, results[0])
        assert logged == [(3, results[0].scalars())]

    def test_no_tracker(self, results: list[ValidationResult]) -> None:
        log_validation([], results[0])
        log_validation(accelerate.Accelerator(cpu=True), results[0])
        with pytest.raises(TypeError, match=r"`tracker` must be an Accelerator, .*, but got builtins\.dict"):
            log_validation({}, results[0])

    @given(st.text())
    def test_what_is_seen_is_one_line_of_text(self, text: str) -> None:
        shown = visible(text)
        assert shown.isprintable()
        assert visible(shown) == shown
        if text.isprintable():
            assert shown == text

    def test_a_caption(self, results: list[ValidationResult]) -> None:
        picture = results[0].pictures[2]
        score = picture.scores["quality"]
        assert caption(picture) == (
            f"quality {score:.4f}, my own: <b> {score:.4f} | seed 4 | two\\nlines\\r\\n\\t\\x00\\x1b[31m"
        )
        assert len(caption(results[0].pictures[6])) < 600
