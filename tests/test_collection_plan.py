"""The plan on paper for large collections: its FLOPs against torch's counter, its sums against others', its table."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from docs.experiments.collection_plan import Assumptions, Plan, Tower, main, measure, towers

PAGE = Path(__file__).parent.parent / "docs" / "scale.md"
COMMAND = "python -m docs.experiments.collection_plan"


@pytest.mark.parametrize(
    ("name", "vision", "text", "width"),
    [
        (
            "ViT-B-32",
            {"image_size": 224, "patch_size": 32, "hidden_size": 768, "num_hidden_layers": 12},
            {"hidden_size": 512, "num_hidden_layers": 12},
            512,
        ),
        (
            "ViT-L-14-336",
            {"image_size": 336, "patch_size": 14, "hidden_size": 1024, "num_hidden_layers": 24},
            {"hidden_size": 768, "num_hidden_layers": 12},
            768,
        ),
    ],
)
def test_flops_are_those_that_torch_counts(
    name: str, vision: dict[str, int], text: dict[str, int], width: int
) -> None:
    from transformers import (
        CLIPTextConfig,
        CLIPTextModelWithProjection,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

    (tower,) = towers([name])
    eager = {"attn_implementation": "eager", "projection_dim": width}
    with torch.device("meta"), torch.no_grad():
        images = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                **vision, intermediate_size=4 * vision["hidden_size"], num_attention_heads=16, **eager
            )
        )
        texts = CLIPTextModelWithProjection(
            CLIPTextConfig(**text, intermediate_size=4 * text["hidden_size"], num_attention_heads=8, **eager)
        )
        counted = []
        for model, item in (
            (images, torch.zeros(1, 3, vision["image_size"], vision["image_size"])),
            (texts, torch.zeros(1, 77, dtype=torch.long)),
        ):
            with FlopCounterMode(display=False) as counter:
                model(item)
            counted.append(counter.get_total_flops())
    assert tower.width == width
    assert [tower.image_flops, tower.text_flops] == pytest.approx(counted, rel=1e-3)


def test_the_sums() -> None:
    tower = Tower("by hand", image_flops=10_000_000_000, text_flops=6_000_000_000, width=500)
    assumed = Assumptions(
        gpu_tflops=100,
        utilisation=0.4,
        gpus=10,
        decode_ms=2,
        engine_ms=0.1,
        bytes_per_image=50_000,
        rows_per_shard=10_000,
        row_bytes=20,
    )
    plan = Plan(144_000_001, tower, assumed)
    # 100 × 10¹² × 0.4 / 10¹⁰ = 4,000 a second; 144 million take 36,000 seconds: ten hours, on ten GPUs one.
    assert plan.model_rate == plan.rate == pytest.approx(4_000)
    assert plan.gpu_hours == pytest.approx(10)
    assert plan.days == pytest.approx(1 / 24)
    assert (plan.decoding_cores, plan.engine_cores) == pytest.approx((8, 0.4))
    assert (plan.bytes_read, plan.read_rate) == pytest.approx((7.2e12, 200e6))
    assert (plan.shards, plan.shard_seconds) == (14_401, pytest.approx(2.5))
    assert plan.bytes_written == pytest.approx(2.88e9)
    assert plan.bytes_with_embeddings == pytest.approx(2.88e9 + 144e6 * 2_000)
    with_texts = Plan(144_000_001, tower, assumed, texts=True)
    assert with_texts.gpu_hours == pytest.approx(16)
    # One process cannot hand over more than 1,000 a second where each takes it a millisecond.
    slow = Plan(144_000_001, tower, Assumptions(gpu_tflops=100, utilisation=0.4, engine_ms=1))
    assert (slow.model_rate, slow.rate, slow.engine_cores) == pytest.approx((4_000, 1_000, 1))
    assert slow.gpu_hours == pytest.approx(40)


def test_the_page_shows_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    commands = re.findall(rf"^{re.escape(COMMAND)}[^\n#]*", text, flags=re.MULTILINE)
    planned = [command for command in commands if "--measure" not in command]
    assert len(planned) == 2
    for command in planned:
        main(shlex.split(command)[3:])
        tables = capsys.readouterr().out.strip().split("\n\n")
        assert len(tables) == 2
        rest = text.split(f"\n{command}", 1)[1]
        assert tables[-1] in rest
        # The shapes stand there once; they do not depend on what is assumed.
        assert tables[0] in text


def test_every_assumption_has_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--gpu-tflops=100", "--utilisation=0.5", "--gpus=2", "--decode-ms=4", "--engine-ms=0.5"]
    own += [
        "--bytes-per-image=1e5",
        "--rows-per-shard=1000",
        "--row-bytes=10",
        "--images",
        "12345",
        "--texts",
    ]
    main(own)
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$", capsys.readouterr().out, re.MULTILINE))
    # 50 TFLOP/s of 8.818 + 5.958 GFLOP are 3,384 images a second, of which the engine hands over 2,000.
    assert rows["what"] == "12,345, ViT-B-32"
    assert rows["images a second on one GPU, by the model"] == "3,384"
    assert rows["images a second on one GPU, planned"] == "2,000"
    assert rows["cores that decode, for one GPU"] == "8"
    assert rows["read"] == "1.23 GB"
    assert rows["shards"] == "13"
    assert rows["written with embeddings"] == "25.4 MB"


@pytest.mark.parametrize("option", ["--gpu-tflops=0", "--images=0.5", "--decode-ms=-1", "--utilisation=inf"])
def test_what_cannot_be_planned_with_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([option])
    assert end.value.code == 2
    assert "must be more than 0" in capsys.readouterr().err


def test_what_is_measured() -> None:
    pytest.importorskip("skimage")
    found = measure(photos=4, rows=40)
    assert set(found) == {"decode_ms", "engine_ms", "row_bytes"}
    assert all(value > 0 for value in found.values())
