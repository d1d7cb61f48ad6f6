"""What models cost: the ratios, the memory, the file, and what the report shows of it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from unisim_metrics.benchmark.costs.efficiency import (
    BASELINE,
    EfficiencyReport,
    ModelEfficiency,
    clip_tokenizer,
    count_parameters,
    load,
    measure_efficiency,
    measure_throughput,
    medians,
    read_efficiency,
    workload,
    write_efficiency,
)
from unisim_metrics.benchmark.report import write_report
from unisim_metrics.benchmark.results.files import Environment
from unisim_metrics.cli import app
from unisim_metrics.models import EncoderModel, load_model


class Chooser:
    """A model that only compares, as generative ones do."""

    embeds = False

    def __init__(self, model: EncoderModel) -> None:
        self.model = model
        self.device = model.device

    def compare(self, *arguments: Any, **named: Any) -> torch.Tensor:
        return self.model.compare(*arguments, **named)


class Slow(Chooser):
    """A model that takes its time."""

    embeds = True

    def compare(self, *arguments: Any, **named: Any) -> torch.Tensor:
        time.sleep(0.15)
        return super().compare(*arguments, **named)

    def embed_images(self, images: Any) -> torch.Tensor:
        time.sleep(0.15)
        return self.model.embed_images(images)

    def embed_texts(self, texts: Any) -> torch.Tensor:
        time.sleep(0.15)
        return self.model.embed_texts(texts)


@pytest.fixture(scope="module")
def measured(tiny_clip_dir: Path) -> EfficiencyReport:
    return measure_efficiency([], baseline=str(tiny_clip_dir), batch_size=4, rounds=1, device="cpu")


class TestMeasuring:
    def test_the_baseline_is_one(self, measured: EfficiencyReport, tiny_clip_dir: Path) -> None:
        (model,) = measured.models
        assert (model.name, model.images, model.texts, model.comparisons) == (str(tiny_clip_dir), 1, 1, 1)

    def test_what_takes_longer_does_less(self, tiny_model: EncoderModel) -> None:
        models: dict[str, Any] = {"base": tiny_model, "slow": Slow(tiny_model), "words": Chooser(tiny_model)}
        found = measure_throughput(models, "base", batch_size=4, rounds=3)
        assert found["base"] == {"comparisons": 1, "images": 1, "texts": 1}
        assert set(found["words"]) == {"comparisons"}
        assert all(ratio < 1 for ratio in found["slow"].values())

    def test_parameters_are_those_of_the_file(self, measured: EfficiencyReport, tiny_clip_dir: Path) -> None:
        weights = load_file(tiny_clip_dir / "model.safetensors")
        assert measured.models[0].parameters == sum(weight.numel() for weight in weights.values())

    def test_memory_is_that_of_a_process_with_torch(self, measured: EfficiencyReport) -> None:
        assert all(2**26 < model.peak_memory_bytes < 2**33 for model in measured.models)

    def test_the_file_reads_back(self, measured: EfficiencyReport, tmp_path: Path) -> None:
        path = write_efficiency(measured, tmp_path)
        assert path.name == "efficiency.json"
        assert read_efficiency([tmp_path / "nowhere", tmp_path]) == measured
        assert read_efficiency([tmp_path / "nowhere"]) is None
        assert json.loads(path.read_text(encoding="utf-8"))["schema_version"] == 1

    def test_one_that_only_compares_has_one_figure(self, tiny_model: EncoderModel) -> None:
        work = workload(Chooser(tiny_model), 8)  # type: ignore[arg-type]
        assert set(work) == {"comparisons"}
        scores = work["comparisons"]()
        assert isinstance(scores, torch.Tensor) and scores.shape == (2, 2)
        assert count_parameters(Chooser(tiny_model)) == 0  # type: ignore[arg-type]

    def test_work_is_on_the_stated_number(self, tiny_model: EncoderModel) -> None:
        work = workload(tiny_model, 8)
        for kind in ("images", "texts"):
            embeddings = work[kind]()
            assert isinstance(embeddings, torch.Tensor) and len(embeddings) == 8


def test_the_default_baseline_is_clip_vit_b_32() -> None:
    model = load(BASELINE, torch.device("cpu"))
    # 87.8 million in the image tower, 63.4 in the text tower with its projections and scale.
    assert count_parameters(model) == 151_277_313
    assert model.input_tag == "224-bicubic-ftfy"


def test_the_baseline_splits_texts_as_clip_does() -> None:
    texts = ["a photo of a dog's 12 cats", "", "Été à la plage — 50% 😀", "antidisestablishmentarianism"]
    expected = open_clip.tokenize(texts).tolist()
    for row, ids in zip(expected, clip_tokenizer()(texts)["input_ids"], strict=True):
        assert row == ids + [0] * (77 - len(ids))


def test_memory_of_a_process_grows_by_what_it_fills() -> None:
    # In a process of its own: what earlier tests used, and their threads give back meanwhile, is not in its peak.
    script = (
        "import torch; from unisim_metrics.benchmark.costs.memory import peak_memory\n"
        "before = peak_memory(torch.device('cpu')); kept = torch.ones(2**27)\n"
        "print(peak_memory(torch.device('cpu')) - before)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert 2**29 - 2**27 < int(printed) < 2**29 + 2**27


def test_medians_of_what_takes_turns() -> None:
    calls: list[str] = []

    def candidate(name: str, seconds: float) -> Any:
        def run() -> None:
            calls.append(name)
            time.sleep(seconds)

        return run

    found = medians({"short": candidate("short", 0), "long": candidate("long", 0.02)}, rounds=7)
    assert found["long"] > found["short"]
    # A warm-up and seven rounds, in either order.
    rounds = list(zip(calls[::2], calls[1::2], strict=True))
    assert len(rounds) == 8 and set(rounds) == {("short", "long"), ("long", "short")}


class TestErrors:
    def test_arguments(self) -> None:
        with pytest.raises(ValueError, match="`batch_size` and `rounds` must be at least"):
            measure_efficiency(["unisim-mini"], rounds=0)
        with pytest.raises(ValueError, match="`models` must name each model once"):
            measure_efficiency(["unisim-mini", "unisim-mini"])

    def test_a_model_that_cannot_be_loaded(self, tiny_clip_dir: Path, tmp_path: Path) -> None:
        with pytest.raises(OSError, match=r"nothing-here.* could not be measured"):
            measure_efficiency([], baseline=str(tmp_path / "nothing-here"))

    def test_a_file_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "efficiency.json").write_text('{"models": 3}', encoding="utf-8")
        with pytest.raises(ValueError, match=r"efficiency\.json is no EfficiencyReport"):
            read_efficiency([tmp_path])


def test_the_report_shows_it(tmp_path: Path) -> None:
    environment = Environment(python="3", platform="Linux-x", device="cpu", packages={})
    models = (
        ModelEfficiency(
            name="base", parameters=150_000_000, images=1, texts=1, comparisons=1, peak_memory_bytes=2**30
        ),
        ModelEfficiency(name="<llava>", parameters=500_000_000, comparisons=0.25, peak_memory_bytes=2**31),
    )
    made = EfficiencyReport(
        baseline="base", models=models, batch_size=8, rounds=5, threads=2, environment=environment
    )
    write_efficiency(made, tmp_path)
    write_report(tmp_path / "out", [tmp_path])
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    rows = page.split('<table class="efficiency">')[1].split("</table>")[0]
    assert "150.0 M" in rows and "1,024 MiB" in rows and "&lt;llava&gt;" in rows
    assert rows.count("–") == 2 and "0.25×" in rows
    assert "medians of 5 rounds" in page
    markdown = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "| &lt;llava> | 500.0 M | – | – | 0.25× | 2,048 MiB |" in markdown
    latex = (tmp_path / "out" / "report.tex").read_text(encoding="utf-8")
    assert r"\textless{}llava\textgreater{} & 500.0 M & -- & -- & 0.25$\times$ & 2,048 MiB \\" in latex
    with (tmp_path / "out" / "efficiency.csv").open(encoding="utf-8", newline="") as file:
        rows_of_csv = list(csv.DictReader(file))
    assert [row["name"] for row in rows_of_csv] == ["base", "<llava>"]
    assert (rows_of_csv[1]["images"], float(rows_of_csv[1]["comparisons"])) == ("", 0.25)


def test_the_command_tells_what_it_needs() -> None:
    done = CliRunner().invoke(app, ["bench", "efficiency", "--help"])
    assert done.exit_code == 0
    assert "CLIP ViT-B/32" in done.output


def test_bundled_model_is_smaller_than_the_baseline() -> None:
    assert count_parameters(load_model("unisim-mini")) < 151_277_313 / 5
