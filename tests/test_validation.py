"""What is held out for validation, and what a validation says: against plain peft, killed, and on a full disk."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmark_data import write_hq_edit, write_kadid, write_pieapp, write_pipal
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from PIL import Image
from pillow_processors import CLIPImageProcessorPil
from scipy.stats import binomtest
from tiny_training import RECIPE, TEXTS, file_size_limit, trainer_of, weights_of, write_images
from transformers import AutoTokenizer, CLIPModel

from unisim_metrics.benchmark import load_dataset
from unisim_metrics.benchmark.samples import Sample
from unisim_metrics.tasks import Task
from unisim_metrics.training.clip.run import plan
from unisim_metrics.training.errors import TrainingError
from unisim_metrics.training.pools import hold_out
from unisim_metrics.training.recipe import DataSettings, Recipe, ValidationSettings
from unisim_metrics.training.stream import Pool

ROOT = Path("data")


def links_of(pools: Sequence[Pool]) -> set[Any]:
    """All images and reference texts."""
    samples = [sample for pool in pools for sample in pool.samples]
    images = {
        item
        for sample in samples
        for item in (sample.reference, *sample.alternatives)
        if isinstance(item, Path)
    }
    return images | {sample.reference for sample in samples if isinstance(sample.reference, str)}


def draw_pools(seed: int) -> list[Pool]:
    """Two datasets with images in common, whose triplets hang together in chains of some length."""
    rng = random.Random(seed)

    def image() -> Path:
        return ROOT / f"{rng.randrange(120)}.png"

    texts = [Sample(f"text {rng.randrange(60)}", (image(), image()), rng.randrange(2)) for _ in range(40)]
    ratings = [Sample(None, (image(), image()), rng.randrange(2)) for _ in range(rng.randrange(10, 30))]
    return [Pool("texts", "image-text", texts), Pool("ratings", "quality", ratings)]


class TestHoldOut:
    @given(st.integers(0, 2**32), st.integers(1, 12))
    @settings(max_examples=60, deadline=None)
    def test_nothing_is_on_both_sides(self, seed: int, triplets: int) -> None:
        pools = draw_pools(seed)
        try:
            trained, held = hold_out(pools, triplets, ROOT, seed)
        except ValueError as error:
            assert "hang together" in str(error)
            return
        assert not links_of(trained) & links_of(held)
        for pool, kept, out in zip(pools, trained, held, strict=True):
            assert 1 <= len(out.samples) <= len(pool.samples) / 2
            assert len(kept.samples) + len(out.samples) == len(pool.samples)
            assert sorted(map(repr, [*kept.samples, *out.samples])) == sorted(map(repr, pool.samples))
            assert [s for s in pool.samples if s in out.samples] == list(out.samples)

    @given(st.integers(0, 2**32))
    @settings(max_examples=30, deadline=None)
    def test_only_seed_and_content_decide(self, seed: int) -> None:
        samples = [Sample(f"text {i % 30}", (ROOT / f"{i}.png", ROOT / f"b{i}.png"), 0) for i in range(60)]
        _, (held,) = hold_out([Pool("texts", "image-text", samples)], 7, ROOT, seed)
        assert 7 <= len(held.samples) <= 8
        shuffled = random.Random(seed).sample(samples, len(samples))
        elsewhere = Path("/elsewhere/data")
        moved = [Sample(s.reference, tuple(elsewhere / p.name for p in s.alternatives), 0) for s in shuffled]  # type: ignore[union-attr]
        other = Pool(
            "other",
            "quality",
            [Sample(None, (elsewhere / f"x{i}", elsewhere / f"y{i}"), 0) for i in range(40)],
        )
        _, (_, again) = hold_out([other, Pool("texts", "image-text", moved)], 7, elsewhere, seed)
        assert {s.reference for s in again.samples} == {s.reference for s in held.samples}

    def test_another_seed_holds_out_others(self) -> None:
        pool = Pool("set", "quality", [Sample(None, (ROOT / f"a{i}", ROOT / f"b{i}"), 0) for i in range(200)])
        held = [hold_out([pool], 20, ROOT, seed)[1][0].samples for seed in (0, 0, 1)]
        assert held[0] == held[1]
        assert len(set(map(repr, held[0])) & set(map(repr, held[2]))) < 10

    def test_texts_to_choose_from_do_not_link(self) -> None:
        captions = [Sample(ROOT / f"{i}.png", ("a dog", "a cat"), 0) for i in range(20)]
        _, (held,) = hold_out([Pool("captions", "caption", captions)], 5, ROOT)
        assert len(held.samples) == 5

    def test_what_hangs_together_cannot_be_cut(self) -> None:
        chain = [Sample(None, (ROOT / f"{i}.png", ROOT / f"{i + 1}.png"), 0) for i in range(9)]
        with pytest.raises(ValueError, match=r"dataset 'chain': its 9 triplets hang together"):
            hold_out([Pool("chain", "quality", chain)], 1, ROOT)

    def test_in_the_layout_of_the_training_sets(self, tmp_path: Path) -> None:
        """No photo on both sides, though KADID's pairs of two kinds, and two tasks' sets, share no triplet."""
        for write in (write_kadid, write_pieapp, write_pipal, write_hq_edit):
            write(tmp_path)
        names = ("kadid-10k", "pieapp-2afc", "pieapp-iqa", "pipal", "hq-edit-images", "hq-edit-captions")
        recipe = Recipe("x", "base", DataSettings(names, 64), validation=ValidationSettings(triplets=2))
        planned = plan(recipe, tmp_path)

        def photos(pools: Sequence[Pool]) -> dict[str, set[str]]:
            found: dict[str, set[str]] = {name: set() for name in ("kadid10k", "pie_app", "PIPAL", "HQ-Edit")}
            for item in links_of(pools):
                if isinstance(item, Path):
                    name = item.stem.removeprefix("distorted_")
                    part = "_".join(name.split("_")[:2]) if "pie_app" in item.parts else name.split("_")[0]
                    found[item.relative_to(tmp_path).parts[0]].add(part)
            return found

        trained, held = photos(planned.pools), photos(planned.held_out)
        for name in trained:
            assert trained[name] and held[name] and not trained[name] & held[name], name
        for row in planned.rows():
            whole = len(load_dataset(row["dataset"], tmp_path).samples("train"))
            assert row["triplets"] + row["held_out"] == whole
            assert row["held_out"] >= 2
        assert plan(recipe, tmp_path) == planned
        without = plan(replace(recipe, validation=ValidationSettings()), tmp_path)
        assert (without.held_out, without.held_out_hash) == ((), None)
        assert without.data_hash != planned.data_hash


def held_out_of(paths: Sequence[Path]) -> list[Pool]:
    """Other triplets than those of the tiny run, some of them of each modality."""
    count = len(paths)
    image = [Sample(paths[i], (paths[(i + 2) % count], paths[(i + 4) % count]), i % 2) for i in range(9)]
    text = [Sample(TEXTS[i % 6], (paths[i], paths[(i + 4) % count]), i % 2) for i in range(8)]
    caption = [Sample(paths[i], (TEXTS[i % 6], TEXTS[(i + 3) % 6]), i % 2) for i in range(10)]
    quality = [Sample(None, (paths[i], paths[(i + 3) % count]), i % 2) for i in range(7)]
    more = [Sample(None, (paths[i], paths[(i + 1) % count]), 0) for i in range(5)]
    named: list[tuple[str, Task, list[Sample]]] = [
        ("images", "image-image", image),
        ("prompts", "image-text", text),
        ("captions", "caption", caption),
        ("ratings", "quality", quality),
        ("more ratings", "quality", more),
    ]
    return [Pool(*fields) for fields in named]


def plain_accuracy(model: Any, directory: Path, pool: Pool) -> float:
    """The share of right choices by plain transformers, triplet by triplet."""
    processor = CLIPImageProcessorPil.from_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)

    @torch.no_grad()
    def embed(item: Any) -> torch.Tensor:
        if isinstance(item, Path):
            pixels = processor(Image.open(item), return_tensors="pt")["pixel_values"]
            features = model.get_image_features(pixel_values=pixels).pooler_output
        else:
            text = "A high-quality photo." if item is None else item
            features = model.get_text_features(**tokenizer([text], return_tensors="pt")).pooler_output
        return features[0] / features[0].norm()

    right = 0
    for sample in pool.samples:
        first, second = (float(embed(sample.reference) @ embed(item)) for item in sample.alternatives)
        right += (0 if first >= second else 1) == sample.label
    return right / len(pool.samples)


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "validation.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_images(tmp_path_factory.mktemp("images"))


DROPOUT = replace(RECIPE, lora=replace(RECIPE.lora, dropout=0.2))


class TestValidator:
    def test_against_plain_peft_before_and_after(
        self, tiny_clip_dir: Path, paths: list[Path], tmp_path: Path
    ) -> None:
        held = held_out_of(paths)
        trainer = trainer_of(DROPOUT, tiny_clip_dir, paths, tmp_path, held_out=held)
        list(trainer.train())
        before, *_, after = lines_of(tmp_path)
        assert (before["step"], after["step"]) == (0, 6)
        trainer.tower.clip.save_pretrained(tmp_path / "adapter")  # type: ignore[operator]
        untrained = CLIPModel.from_pretrained(tiny_clip_dir).eval()
        trained = PeftModel.from_pretrained(
            CLIPModel.from_pretrained(tiny_clip_dir), tmp_path / "adapter"
        ).eval()
        for line, model in ((before, untrained), (after, trained)):
            assert line["samples_hash"] == "0" * 64
            for pool, result in zip(held, line["results"], strict=True):
                assert (result["dataset"], result["task"]) == (pool.dataset, pool.task)
                assert result["n"] == len(pool.samples)
                assert result["accuracy"] == plain_accuracy(model, tiny_clip_dir, pool)
                right = round(result["accuracy"] * result["n"])
                interval = binomtest(right, result["n"]).proportion_ci(method="wilson")
                assert result["interval"] == pytest.approx([interval.low, interval.high])
        assert before["results"] != after["results"]
        assert trainer.validator is not None
        last = trainer.validator.last
        by_dataset = {result["dataset"]: result["accuracy"] for result in after["results"]}
        quality = (by_dataset["ratings"] + by_dataset["more ratings"]) / 2
        assert last is not None
        assert last.tasks()["quality"].value == pytest.approx(quality)
        rest = by_dataset["images"] + by_dataset["prompts"] + by_dataset["captions"]
        assert last.mean().value == last.flat()["validation/mean"] == pytest.approx((rest + quality) / 4)

    def test_the_training_sees_nothing_of_it(
        self, tiny_clip_dir: Path, paths: list[Path], tmp_path: Path
    ) -> None:
        alone = trainer_of(DROPOUT, tiny_clip_dir, paths, tmp_path / "alone")
        asked = trainer_of(DROPOUT, tiny_clip_dir, paths, tmp_path / "asked", held_out=held_out_of(paths))
        assert list(alone.train()) == list(asked.train())
        for name, weight in weights_of(alone).items():
            assert torch.equal(weight, weights_of(asked)[name]), name

    @pytest.mark.parametrize("killed_after", [0, 1, 3, 5])
    def test_killed_and_resumed_gives_the_same_lines(
        self, tiny_clip_dir: Path, paths: list[Path], tmp_path: Path, killed_after: int
    ) -> None:
        held = held_out_of(paths)
        straight = trainer_of(DROPOUT, tiny_clip_dir, paths, tmp_path / "straight", held_out=held)
        list(straight.train())
        recipe = replace(DROPOUT, save_every=3)
        killed = trainer_of(recipe, tiny_clip_dir, paths, tmp_path / "killed", held_out=held)
        for report in killed.train():
            if report.step > killed_after:
                break
        resumed = trainer_of(recipe, tiny_clip_dir, paths, tmp_path / "killed", held_out=held)
        resumed.resume()
        list(resumed.train())
        assert lines_of(tmp_path / "killed") == lines_of(tmp_path / "straight")
        assert [line["step"] for line in lines_of(tmp_path / "killed")] == [0, 2, 4, 6]

    def test_a_validation_that_was_missed_is_made_up_for(
        self, tiny_clip_dir: Path, paths: list[Path], tmp_path: Path
    ) -> None:
        """Killed between the checkpoint of the last step and its validation."""
        held = held_out_of(paths)
        list(trainer_of(DROPOUT, tiny_clip_dir, paths, tmp_path, held_out=held).train())
        lines = lines_of(tmp_path)
        file = tmp_path / "validation.jsonl"
        file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
        resumed = trainer_of(DROPOUT, tiny_clip_dir, paths, tmp_path, held_out=held)
        assert resumed.resume()
        assert list(resumed.train()) == []
        assert lines_of(tmp_path) == lines

    def test_unreadable_images_are_left_out(
        self, tiny_clip_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        paths = write_images(tmp_path / "images")
        held = held_out_of(paths)
        paths[0].write_bytes(paths[0].read_bytes()[:60])
        trainer = trainer_of(RECIPE, tiny_clip_dir, paths, tmp_path / "run", held_out=held)
        with caplog.at_level(logging.WARNING):
            list(trainer.train(1))
        model = CLIPModel.from_pretrained(tiny_clip_dir).eval()
        for pool, result in zip(held, lines_of(tmp_path / "run")[0]["results"], strict=True):
            whole = [s for s in pool.samples if paths[0] not in (s.reference, *s.alternatives)]
            assert result["n"] == len(whole) < len(pool.samples)
            assert result["accuracy"] == plain_accuracy(model, tiny_clip_dir, replace(pool, samples=whole))
        assert "left out of the validation" in caplog.text

    def test_no_image_can_be_read(self, tiny_clip_dir: Path, paths: list[Path], tmp_path: Path) -> None:
        missing = [Pool("gone", "quality", [Sample(None, (tmp_path / "a.png", tmp_path / "b.png"), 0)])]
        trainer = trainer_of(RECIPE, tiny_clip_dir, paths, tmp_path, held_out=missing)
        with pytest.raises(TrainingError, match="No held-out triplet of dataset 'gone' can be used"):
            list(trainer.train())

    def test_full_disk(self, tiny_clip_dir: Path, paths: list[Path], tmp_path: Path) -> None:
        trainer = trainer_of(RECIPE, tiny_clip_dir, paths, tmp_path, held_out=held_out_of(paths))
        next(trainer.train())
        lines = lines_of(tmp_path)
        assert trainer.validator is not None
        with file_size_limit(200), pytest.raises(TrainingError, match="validation cannot be written"):
            trainer.validator.validate(1)
        assert lines_of(tmp_path) == lines
        assert not list(tmp_path.glob(".*"))

    def test_trackers_hear_of_it(self, tiny_clip_dir: Path, paths: list[Path], tmp_path: Path) -> None:
        from accelerate.tracking import GeneralTracker

        class Memory(GeneralTracker):
            name = "memory"
            requires_logging_directory = False
            tracker = None

            def __init__(self) -> None:
                super().__init__()
                self.seen: dict[int, dict[str, float]] = {}

            def store_init_configuration(self, values: dict[str, Any]) -> None: ...

            def log(self, values: dict[str, float], step: int | None = None, **_: Any) -> None:
                assert step is not None
                self.seen.setdefault(step, {}).update(values)

        trainer = trainer_of(RECIPE, tiny_clip_dir, paths, tmp_path, held_out=held_out_of(paths))
        memory = Memory()
        trainer.accelerator.trackers = [memory]
        reports = list(trainer.train())
        assert list(memory.seen) == list(range(7))
        assert all(memory.seen[report.step].items() >= report.flat().items() for report in reports)
        for line in lines_of(tmp_path):
            for result in line["results"]:
                assert memory.seen[line["step"]][f"validation/{result['dataset']}"] == result["accuracy"]
        assert "validation/mean" not in memory.seen[1]
