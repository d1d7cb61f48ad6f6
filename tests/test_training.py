"""The CLIP trainer against plain PyTorch, in one process and in two, killed and not killed."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pillow_processors import CLIPImageProcessorPil
from tiny_training import RECIPE, file_size_limit, pools_of, trainer_of, weights_of, write_images
from transformers import AutoTokenizer, CLIPModel
from two_processes import run_in_two, set_launcher_environment

from unisim_metrics import load_model
from unisim_metrics.benchmark import load_dataset
from unisim_metrics.benchmark.samples import Sample
from unisim_metrics.tasks import Task
from unisim_metrics.training.checkpoints import list_checkpoints, load_checkpoint
from unisim_metrics.training.clip.batches import TextTable, TripletBatches
from unisim_metrics.training.clip.tower import adapt
from unisim_metrics.training.clip.trainer import Report
from unisim_metrics.training.errors import TrainingError
from unisim_metrics.training.objective import Triplets, task_losses
from unisim_metrics.training.recipe import (
    DataSettings,
    OptimizationSettings,
    Recipe,
    build,
    list_recipes,
    read_recipe,
    read_table,
)
from unisim_metrics.training.stream import Pool, TripletStream


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_images(tmp_path_factory.mktemp("images"))


class TestObjective:
    def test_against_numpy(self) -> None:
        rng = np.random.default_rng(0)
        references, alternatives = rng.normal(size=(6, 8)), rng.normal(size=(6, 2, 8))
        labels = np.array([0, 1, 1, 0, 1, 0])

        def cosine(a: np.ndarray, b: np.ndarray) -> float:
            return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

        losses = [
            max(0.0, 0.05 - cosine(r, a[label]) + cosine(r, a[1 - label]))
            for r, a, label in zip(references, alternatives, labels, strict=True)
        ]
        triplets = Triplets(*(torch.tensor(value) for value in (references, alternatives, labels)))
        batches: dict[Task, Triplets] = {"image-image": triplets, "quality": triplets}
        for reduction, expected in (("sum", np.sum(losses)), ("mean", np.mean(losses))):
            computed = task_losses(batches, reduction=reduction)  # type: ignore[arg-type]
            assert list(computed) == ["image-image", "quality"]
            assert computed["quality"].item() == pytest.approx(expected, abs=1e-12)
        right = [
            cosine(r, a[label]) > cosine(r, a[1 - label])
            for r, a, label in zip(references, alternatives, labels, strict=True)
        ]
        assert triplets.accuracy().item() == pytest.approx(np.mean(right))

    def test_without_tasks(self) -> None:
        with pytest.raises(ValueError, match="at least one task"):
            task_losses({})


def sample_key(sample: Sample) -> tuple[Any, ...]:
    return sample.reference, frozenset(sample.alternatives), sample.alternatives[sample.label]


class TestStream:
    @given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 40))
    @settings(max_examples=30, deadline=None)
    def test_each_once_a_pass_and_labels_balanced(self, seed: int, batch: int, count: int) -> None:
        samples = [Sample(f"r{i}", (f"a{i}", f"b{i}"), i % 2) for i in range(count)]
        stream = TripletStream([Pool("set", "image-text", samples)], batch, seed)
        drawn = [stream.draw("image-text", number) for number in range(2 * count)]
        for start in (0, count):
            one_pass = drawn[start : start + count]
            assert {sample_key(s) for s in one_pass} == {sample_key(s) for s in samples}
            assert abs(2 * sum(s.label for s in one_pass) - count) <= 1
        steps = [stream.step(index)["image-text"] for index in range(2 * count // batch)]
        assert [s for step in steps for s in step] == drawn[: len(steps) * batch]

    def test_parts_make_the_whole(self) -> None:
        stream = TripletStream(pools_of([Path(f"{i}.png") for i in range(10)]), 12, seed=3)
        whole = stream.step(5)
        for parts in (1, 2, 3, 4, 12):
            pieces = [stream.step(5, part, parts) for part in range(parts)]
            for task in stream.tasks:
                assert [s for piece in pieces for s in piece[task]] == whole[task]
        with pytest.raises(ValueError, match="must divide the batch size 12, but got 5"):
            stream.step(5, 0, 5)

    def test_balance_by_dataset(self) -> None:
        small = Pool("small", "caption", [Sample("s", ("x", "y"), 0)])
        large = Pool("large", "caption", [Sample(f"l{i}", ("x", "y"), 0) for i in range(50)])
        by_dataset = TripletStream([small, large], 40, balance="datasets").step(0)["caption"]
        by_sample = TripletStream([small, large], 40).step(0)["caption"]
        assert sum(s.reference == "s" for s in by_dataset) == 20
        assert sum(s.reference == "s" for s in by_sample) <= 1

    @given(st.integers(0, 1000), st.integers(1, 30), st.sampled_from(["samples", "datasets"]))
    @settings(max_examples=30, deadline=None)
    def test_what_is_met_is_what_the_steps_draw(self, seed: int, steps: int, balance: Any) -> None:
        pools = [
            Pool(name, "caption", [Sample(f"{name}{i}", ("x", "y"), 0) for i in range(count)])
            for name, count in (("small", 3), ("large", 17))
        ]
        stream = TripletStream(pools, 3, seed, balance)
        drawn = {s.reference for step in range(steps) for s in stream.step(step)["caption"]}
        met = list(stream.met("caption", steps))
        assert {sample.reference for sample in met} == drawn
        assert len(met) <= 34

    def test_order_is_that_of_every_machine(self) -> None:
        samples = [Sample(f"r{i}", ("a", "b"), 0) for i in range(6)]
        stream = TripletStream([Pool("set", "caption", samples)], 6, seed=1)
        drawn = [(s.reference, s.label) for s in stream.step(0)["caption"]]
        assert drawn == [("r1", 1), ("r3", 0), ("r4", 0), ("r0", 1), ("r2", 1), ("r5", 0)]

    @pytest.mark.parametrize(
        ("sample", "message"),
        [
            (Sample("r", ("a", "b"), 2), "a label 0 or 1, but got 2 alternatives and label 2"),
            (Sample("r", ("a", "b", "c"), 0), "two alternatives and a label 0 or 1, but got 3"),
        ],
    )
    def test_bad_triplets(self, sample: Sample, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Pool("set", "caption", [sample])

    def test_nothing_to_draw_from(self) -> None:
        with pytest.raises(ValueError, match="at least one triplet for 'quality'"):
            Pool("set", "quality", [])
        with pytest.raises(ValueError, match="at least one pool"):
            TripletStream([], 4)


class TestBatches:
    def test_every_image_once_and_workers_change_nothing(
        self, paths: list[Path], tiny_clip_dir: Path
    ) -> None:
        pools = pools_of(paths)
        encoder: Any = load_model(tiny_clip_dir)
        stream = TripletStream(pools, 4)
        batches = TripletBatches(stream, TextTable(stream, 4), encoder.preprocessing)
        loaded = [list(batches.loader(1, 4, workers)) for workers in (0, 2)]
        assert len(loaded[0]) == 3
        for alone, beside in zip(*loaded, strict=True):
            assert torch.equal(alone.pixels, beside.pixels)
            assert len(alone.pixels) <= len(paths)
            for task in alone.tasks:
                assert torch.equal(alone.tasks[task].alternatives, beside.tasks[task].alternatives)

    def test_only_texts_that_are_met_have_a_row(self) -> None:
        pools = pools_of([Path(f"{i}.png") for i in range(10)])
        many = [Sample(f"text {i}", (Path("a.png"), Path("b.png")), 0) for i in range(1000)]
        stream = TripletStream([*pools, Pool("many", "image-text", many)], 4)
        drawn = [
            s for step in range(2) for task in ("image-text", "caption") for s in stream.step(step)[task]
        ]
        texts = {item for s in drawn for item in (s.reference, *s.alternatives) if isinstance(item, str)}
        assert set(TextTable(stream, 2).texts) == texts | {"A high-quality photo."}

    def test_unreadable_images_are_left_out(self, tmp_path: Path, tiny_clip_dir: Path) -> None:
        paths = write_images(tmp_path)
        paths[0].write_bytes(paths[0].read_bytes()[:60])
        paths[1].unlink()
        pools = pools_of(paths)
        encoder: Any = load_model(tiny_clip_dir)
        stream = TripletStream(pools, 20)
        batch = TripletBatches(stream, TextTable(stream, 1), encoder.preprocessing)[0]
        assert set(batch.unreadable) == set(batch.skipped) == {paths[0], paths[1]}
        assert all(path.name in reason for path, reason in batch.unreadable.items())
        everything = [sample for listed in stream.step(0).values() for sample in listed]
        for path, count in batch.skipped.items():
            assert count == sum(path in (s.reference, *s.alternatives) for s in everything)
        for task, listed in stream.step(0).items():
            whole = [s for s in listed if not {paths[0], paths[1]} & {s.reference, *s.alternatives}]
            assert batch.tasks[task].labels.tolist() == [s.label for s in whole]


def plain_step(
    directory: Path, samples: dict[Task, list[Sample]], recipe: Recipe
) -> tuple[Any, dict[str, float]]:
    """Gradients and losses by plain transformers and peft, triplet by triplet."""
    from peft import LoraConfig, get_peft_model

    model = CLIPModel.from_pretrained(directory)
    torch.manual_seed(recipe.seed)
    lora = LoraConfig(
        r=recipe.lora.rank,
        lora_alpha=recipe.lora.alpha,
        lora_dropout=0.0,
        target_modules=r".*vision_model\..*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)",
        modules_to_save=["visual_projection"],
    )
    model = get_peft_model(model, lora)
    processor = CLIPImageProcessorPil.from_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)

    def embed(item: Path | str) -> torch.Tensor:
        if isinstance(item, str):
            with torch.no_grad():
                features = model.get_text_features(**tokenizer([item], return_tensors="pt")).pooler_output
        else:
            pixels = processor(Image.open(item), return_tensors="pt")["pixel_values"]
            features = model.get_image_features(pixel_values=pixels).pooler_output
        return features[0] / features[0].norm()

    losses: dict[str, Any] = {}
    for task, listed in samples.items():
        losses[task] = torch.tensor(0.0)
        for sample in listed:
            reference = embed("A high-quality photo." if sample.reference is None else sample.reference)
            right, wrong = (embed(sample.alternatives[i]) for i in (sample.label, 1 - sample.label))
            losses[task] = losses[task] + torch.relu(0.05 - reference @ right + reference @ wrong)
    sum(losses.values()).backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
    return gradients, {task: loss.item() for task, loss in losses.items()}


class TestTrainer:
    def test_gradients_and_losses_are_those_of_plain_pytorch(
        self, tiny_clip_dir: Path, paths: list[Path], tmp_path: Path
    ) -> None:
        trainer = trainer_of(RECIPE, tiny_clip_dir, paths, tmp_path)
        expected, losses = plain_step(tiny_clip_dir, trainer.batches.stream.step(0), RECIPE)
        seen: dict[str, torch.Tensor] = {}
        zero_grad = trainer.optimizer.zero_grad

        def keep(*args: Any, **kwargs: Any) -> None:
            seen.update({name: weight.grad.clone() for name, weight in trainer.tower.trained().items()})
            zero_grad(*args, **kwargs)

        trainer.optimizer.zero_grad = keep
        report = next(trainer.train(1))
        for task, loss in losses.items():
            assert report.losses[task] == pytest.approx(loss, abs=1e-6)  # type: ignore[index]
        assert {name.removeprefix("clip.") for name in seen} == set(expected)
        for name, gradient in expected.items():
            assert (seen[f"clip.{name}"] - gradient).abs().max() <= 1e-6 * max(1, gradient.abs().max()), name
        assert sum(gradient.abs().sum() for gradient in expected.values()) > 0

    def test_accumulation_and_reduction(self, tiny_clip_dir: Path, paths: list[Path], tmp_path: Path) -> None:
        results = {}
        for name, change in {
            "whole": {},
            "accumulated": {"accumulation": 2},
            "mean": {"reduction": "mean"},
        }.items():
            recipe = replace(RECIPE, optimization=replace(RECIPE.optimization, **change))
            trainer = trainer_of(recipe, tiny_clip_dir, paths, tmp_path / name)
            results[name] = (list(trainer.train()), weights_of(trainer))
        for first, second in zip(results["whole"][0], results["accumulated"][0], strict=True):
            for task in first.losses:
                assert first.losses[task] == pytest.approx(second.losses[task], abs=1e-5)
        for key, weight in results["whole"][1].items():
            assert torch.allclose(weight, results["accumulated"][1][key], atol=1e-5)
        for task, value in results["whole"][0][0].losses.items():
            assert results["mean"][0][0].losses[task] == pytest.approx(value / 4, abs=1e-6)

    @pytest.mark.parametrize("killed_after", [1, 3, 4])
    def test_resumed_equals_never_killed(
        self, tiny_clip_dir: Path, paths: list[Path], tmp_path: Path, killed_after: int
    ) -> None:
        recipe = replace(RECIPE, lora=replace(RECIPE.lora, dropout=0.2))
        straight = trainer_of(recipe, tiny_clip_dir, paths, tmp_path / "straight")
        reports = list(straight.train())
        killed = trainer_of(recipe, tiny_clip_dir, paths, tmp_path / "killed")
        for _, report in zip(range(killed_after), killed.train(), strict=False):
            assert report == reports[report.step - 1]
        resumed = trainer_of(recipe, tiny_clip_dir, paths, tmp_path / "killed", workers=1)
        assert resumed.resume() == (killed_after >= 2)
        assert resumed.step == killed_after // 2 * 2
        assert list(resumed.train()) == reports[resumed.batches.accumulation * (killed_after // 2 * 2) :]
        for name, weight in weights_of(straight).items():
            assert torch.equal(weight, weights_of(resumed)[name]), name

    def test_it_learns(self, tiny_clip_dir: Path, paths: list[Path], tmp_path: Path) -> None:
        recipe = replace(RECIPE, data=replace(RECIPE.data, samples_per_task=160))
        reports = list(trainer_of(recipe, tiny_clip_dir, paths, tmp_path).train())
        assert len(reports) == 40
        first, last = (
            np.mean([list(r.losses.values()) for r in part]) for part in (reports[:5], reports[-5:])
        )
        assert last < 0.3 * first

    def test_only_the_newest_checkpoints_are_kept(
        self, tiny_clip_dir: Path, paths: list[Path], tmp_path: Path
    ) -> None:
        trainer = trainer_of(RECIPE, tiny_clip_dir, paths, tmp_path)
        list(trainer.train())
        assert [path.name for path in list_checkpoints(tmp_path)] == [
            "checkpoint-00000004",
            "checkpoint-00000006",
        ]
        saved = load_checkpoint(tmp_path / "checkpoint-00000006")
        for name, weight in weights_of(trainer).items():
            assert torch.equal(saved.weights[name], weight)

    def test_full_disk_keeps_the_last_checkpoint(
        self, tiny_clip_dir: Path, paths: list[Path], tmp_path: Path
    ) -> None:
        trainer = trainer_of(RECIPE, tiny_clip_dir, paths, tmp_path)
        list(trainer.train(2))
        with (
            file_size_limit(10_000),
            pytest.raises(TrainingError, match=r"step 4 cannot be written.*Earlier"),
        ):
            list(trainer.train(4))
        assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000002"]
        resumed = trainer_of(RECIPE, tiny_clip_dir, paths, tmp_path)
        assert resumed.resume()
        assert resumed.step == 2

    def test_loss_that_is_not_finite(self, tiny_clip_dir: Path, paths: list[Path], tmp_path: Path) -> None:
        trainer = trainer_of(RECIPE, tiny_clip_dir, paths, tmp_path)
        list(trainer.train(2))
        with torch.no_grad():
            next(iter(trainer.tower.trained().values())).fill_(torch.nan)
        with pytest.raises(TrainingError, match=r"scores of step 2 must be finite.*learning_rate"):
            list(trainer.train(3))
        assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-00000002"]

    def test_weights_that_are_not_finite_are_not_saved(
        self, tiny_clip_dir: Path, paths: list[Path], tmp_path: Path
    ) -> None:
        """The last step of a run has no scores after it that would tell."""
        trainer = trainer_of(RECIPE, tiny_clip_dir, paths, tmp_path)
        list(trainer.train(2))
        step = trainer.optimizer.step

        def poison(*args: Any, **kwargs: Any) -> None:
            step(*args, **kwargs)
            with torch.no_grad():
                list(trainer.tower.trained().values())[-1].view(-1)[0] = torch.inf

        trainer.optimizer.step = poison
        with pytest.raises(TrainingError, match=r"weights of step 3 must be finite.*visual_projection"):
            list(trainer.train(3))
        assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-00000002"]

    def test_unreadable_images_are_counted(self, tiny_clip_dir: Path, tmp_path: Path) -> None:
        paths = write_images(tmp_path / "images")
        paths[0].write_bytes(b"no image")
        trainer = trainer_of(RECIPE, tiny_clip_dir, paths, tmp_path / "run")
        list(trainer.train())
        drawn = [trainer.batches.stream.step(step) for step in range(6)]
        everything = [sample for step in drawn for listed in step.values() for sample in listed]
        broken = sum(paths[0] in (sample.reference, *sample.alternatives) for sample in everything)
        assert trainer.unreadable == {str(paths[0]): broken}
        state = json.loads((tmp_path / "run" / "checkpoint-00000006" / "state.json").read_text())
        assert state["unreadable"] == trainer.unreadable

    def test_no_image_can_be_read(self, tiny_clip_dir: Path, tmp_path: Path) -> None:
        trainer = trainer_of(RECIPE, tiny_clip_dir, [tmp_path / f"{i}.png" for i in range(10)], tmp_path)
        with pytest.raises(TrainingError, match=r"No triplet of step 0 can be used: \d+ images"):
            list(trainer.train())

    def test_adapter_that_fits_nothing(self, tiny_clip_dir: Path) -> None:
        recipe = replace(RECIPE, lora=replace(RECIPE.lora, layers=r".*no_such_layer"))
        with pytest.raises(TrainingError, match="does not fit the base 'tiny'"):
            adapt(CLIPModel.from_pretrained(tiny_clip_dir), recipe, "tiny")


def train_in_a_process(rank: int, port: int, directory: str, images: str, output: str) -> None:
    """One of two processes under the environment that `accelerate launch` sets."""
    set_launcher_environment(rank, port)
    torch.set_num_threads(1)
    paths = [Path(images) / f"{i}.png" for i in range(10)]
    trainer = trainer_of(RECIPE, Path(directory), paths, Path(output) / "run", held_out=pools_of(paths[1:]))
    assert trainer.accelerator.num_processes == 2
    reports = [report.flat() for report in trainer.train()]
    torch.save((weights_of(trainer), trainer.texts, reports, trainer.unreadable), Path(output) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_equal_one(tiny_clip_dir: Path, tmp_path: Path) -> None:
    """Losses, weights, texts, validations, and the triplets that an unreadable image costs."""
    paths = write_images(tmp_path / "images")
    paths[0].unlink()
    run_in_two(train_in_a_process, str(tiny_clip_dir), str(paths[0].parent), str(tmp_path))
    alone = trainer_of(RECIPE, tiny_clip_dir, paths, tmp_path / "alone", held_out=pools_of(paths[1:]))
    reports: list[Report] = list(alone.train())
    assert alone.unreadable[str(paths[0])] > 6
    for rank in range(2):
        weights, texts, theirs, unreadable = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        for name, weight in weights_of(alone).items():
            assert torch.allclose(weight, weights[name], atol=1e-5), name
        assert torch.allclose(texts, alone.texts, atol=1e-6)
        for mine, other in zip(reports, theirs, strict=True):
            assert mine.flat() == pytest.approx(other, abs=1e-5)
        assert unreadable == alone.unreadable
    assert [path.name for path in list_checkpoints(tmp_path / "run")][-1] == "checkpoint-00000006"
    one, two = ((tmp_path / name / "validation.jsonl").read_text() for name in ("alone", "run"))
    assert one == two
    assert one.count("\n") == 4


class TestRecipes:
    def test_the_papers_settings(self) -> None:
        recipe = read_recipe("unisim-vit-b-32")
        assert recipe.steps == 12_500
        assert (recipe.lora.rank, recipe.lora.alpha, recipe.lora.dropout) == (16, 32, 0.2)
        assert recipe.optimization == OptimizationSettings(
            32, 5e-6, 0.35, 500, 0.05, "sum", max_norm=None, min_learning_rate=1e-6
        )
        assert len(recipe.data.datasets) == 10
        assert recipe.train_projection
        large = read_recipe("unisim-vit-l-14")
        assert large.base == "openai/clip-vit-large-patch14-336"
        assert recipe.validation.triplets == 0
        assert replace(large, name=recipe.name, base=recipe.base) == recipe
        assert {"unisim-vit-b-32", "unisim-vit-l-14"} <= set(list_recipes())

    @pytest.mark.parametrize(
        ("name", "left_out"),
        [
            ("hq-edit", {"hpdv2", "magicbrush"}),
            ("hq-edit-hpdv2", {"magicbrush"}),
            ("without-image-image", {"nights", "pieapp-2afc"}),
            ("without-image-text", {"hpdv2", "magicbrush", "hq-edit-images"}),
            ("without-caption", {"polaris", "hq-edit-captions"}),
            ("without-quality", {"kadid-10k", "pieapp-iqa", "pipal"}),
        ],
    )
    def test_ablations_differ_in_their_data_alone(self, name: str, left_out: set[str]) -> None:
        whole, ablated = read_recipe("unisim-vit-b-32"), read_recipe(f"unisim-vit-b-32-{name}")
        assert ablated.name == f"unisim-vit-b-32-{name}"
        assert set(whole.data.datasets) - set(ablated.data.datasets) == left_out
        datasets = tuple(dataset for dataset in whole.data.datasets if dataset not in left_out)
        assert replace(whole, name=ablated.name, data=replace(whole.data, datasets=datasets)) == ablated
        tasks = {load_dataset(dataset, ".").task for dataset in ablated.data.datasets}
        assert len(tasks) == (3 if name.startswith("without") else 4)

    def test_a_recipe_extends_another(self, tmp_path: Path) -> None:
        (tmp_path / "below.toml").write_text(
            'extends = "unisim-vit-b-32"\nname = "below"\n[lora]\nrank = 4\n[data]\ndatasets = ["nights"]\n'
        )
        (tmp_path / "above.toml").write_text('extends = "below.toml"\nname = "above"\n[lora]\nalpha = 8\n')
        recipe = read_recipe(tmp_path / "above.toml", ["lora.dropout=0.5"])
        assert (recipe.name, recipe.lora.rank, recipe.lora.alpha, recipe.lora.dropout) == ("above", 4, 8, 0.5)
        assert recipe.data == DataSettings(("nights",), 400_000, protocol="authors")
        assert recipe.optimization == read_recipe("unisim-vit-b-32").optimization
        assert "extends" not in read_table(tmp_path / "above.toml")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('extends = "one.toml"', "must not extend itself, but .*one.toml does"),
            ('extends = "two.toml"', "must not extend itself"),
            ('extends = "none.toml"', r"one of \[.*\] or a TOML file, but got 'none.toml'"),
            ("extends = 3", "Setting extends of .*one.toml must be of type str, but got 3"),
            ('extends = "unisim-vit-b-32"', "must have the setting name, but it is missing"),
        ],
    )
    def test_bad_extensions(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "one.toml").write_text(text)
        (tmp_path / "two.toml").write_text('extends = "one.toml"\nname = "two"\n')
        with pytest.raises(ValueError, match=message):
            read_recipe(tmp_path / "one.toml")

    def test_tables_of_other_kinds(self) -> None:
        @dataclass(frozen=True)
        class Kind:
            width: int
            share: float = 0.5

        assert build(Kind, {"width": 3, "share": 1}) == Kind(3, 1.0)
        with pytest.raises(ValueError, match=r"must have the setting width"):
            build(Kind, {})

    def test_overrides(self) -> None:
        recipe = read_recipe(
            "unisim-vit-b-32",
            [
                "optimization.learning_rate=1e-4",
                "seed=3",
                "data.datasets=['nights']",
                "base=my/base",
                "lora.rank=4",
            ],
        )
        assert recipe.optimization.learning_rate == 1e-4
        assert (recipe.seed, recipe.data.datasets, recipe.base, recipe.lora.rank) == (
            3,
            ("nights",),
            "my/base",
            4,
        )

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("optimization.learning_rat=1", r"no setting optimization\.learning_rat; there are"),
            ("seed='x'", r"Setting seed must be of type int, but got 'x'"),
            ("train_projection=1", r"Setting train_projection must be of type bool, but got 1"),
            (
                "optimization.batch_size=true",
                r"Setting optimization\.batch_size must be of type int, but got True",
            ),
            ("optimization.reduction=max", r"must be one of \('sum', 'mean'\), but got 'max'"),
            ("data.datasets=nights", "must be a list of strings, but got 'nights'"),
            ("data=3", "Setting data must be a table, but got 3"),
            ("seed", "form key=value, but got 'seed'"),
            ("seed.x=1", "'seed' of 'seed.x=1' is no table"),
            ("data.datasets=[]", r"Setting data\.datasets must name at least one dataset"),
            ("data.samples_per_task=31", r"Setting data\.samples_per_task must be at least 32, but got 31"),
            ("save_every=0", "Setting save_every must be at least 1, but got 0"),
            ("validation.every=0", r"Setting validation\.every must be at least 1, but got 0"),
        ],
    )
    def test_bad_overrides(self, override: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            read_recipe("unisim-vit-b-32", ["seed=0", override])

    def test_bad_files(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"one of \[.*unisim-vit-b-32.* or a TOML file, but got 'none'"):
            read_recipe("none")
        with pytest.raises(ValueError, match=r"trainer of its own.*`unisim train` chooses it"):
            read_recipe("unisim-mini")
        (tmp_path / "broken.toml").write_text("name = ")
        with pytest.raises(ValueError, match="not valid TOML"):
            read_recipe(tmp_path / "broken.toml")
        (tmp_path / "short.toml").write_text("name = 'x'\n[data]\ndatasets = []\n")
        with pytest.raises(ValueError, match="must have the setting base, but it is missing"):
            read_recipe(tmp_path / "short.toml")
