"""Validation of a generator in training: figures against SciPy and statsmodels, what it leaves alone, its history."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from oracle import PlainClip, photos, tensor_of
from scipy import stats
from scipy.stats import binom
from statsmodels.stats.multitest import multipletests
from tiny_scenes import tiny_scene_pipeline
from torch import Tensor, nn

from docs.experiments import validation_flatness
from unisim_metrics.integrations.rewards import GroupwiseReward, PointwiseReward
from unisim_metrics.integrations.validation import UniSimValidation, ValidationResult

PROMPTS = ["a cat", "a dog", "a red dog"]


def mean_of_pixels(images: Tensor, prompts: Sequence[str], metadata: Sequence[dict[str, Any]]) -> Tensor:
    return images.double().mean(dim=(1, 2, 3))


def contrast(images: Tensor, *_: Any) -> tuple[list[float], dict[str, Any]]:
    return [float(image.double().amax() - image.double().amin()) for image in images], {}


def noise(prompts: list[str], generators: list[torch.Generator]) -> Tensor:
    """Pictures that are a function of their seed."""
    return torch.stack([torch.rand(3, 8, 8, generator=generator) for generator in generators])


def painter(levels: NDArray[np.float64]) -> Callable[..., Tensor]:
    """A generator whose picture of each seed has one grey level."""
    values = torch.as_tensor(levels).flatten()

    def generate(prompts: list[str], generators: list[torch.Generator]) -> Tensor:
        levels = values[[generator.initial_seed() for generator in generators]]
        return levels[:, None, None, None].expand(-1, 3, 4, 4)

    return generate


def brightness(prompts: Sequence[str] = PROMPTS, **settings: Any) -> UniSimValidation:
    return UniSimValidation(prompts, {"brightness": mean_of_pixels}, **settings)


def levels_of(steps: int, prompts: int, seeds: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(0.2, 0.8, (steps, prompts, seeds))


def by_hand(values: NDArray[np.float64], confidence: float = 0.95) -> tuple[float, float, float, float]:
    """Mean, interval and p-value of Student's t over the means of the prompts, which have as many pictures each."""
    test = stats.ttest_1samp(values.mean(axis=-1), 0)
    interval = test.confidence_interval(confidence)
    return float(values.mean()), float(interval.low), float(interval.high), float(test.pvalue)


class TestFigures:
    @given(st.integers(2, 5), st.integers(1, 3), st.integers(0, 999), st.sampled_from([0.8, 0.95]))
    @settings(max_examples=20, deadline=None)
    def test_they_are_student_s_over_prompts(
        self, prompts: int, seeds: int, seed: int, confidence: float
    ) -> None:
        levels = levels_of(3, prompts, seeds, seed)
        validation = brightness(
            [f"a {number}" for number in range(prompts)], seeds_per_prompt=seeds, confidence=confidence
        )
        for step, table in enumerate(levels):
            figures = validation(step, painter(table)).figures["brightness"]
            mean = figures.mean
            assert (mean.value, mean.low, mean.high) == pytest.approx(
                by_hand(table, confidence)[:3], abs=1e-9
            )
            if step == 0:
                assert figures.change is None and figures.gain is None
                continue
            for found, before in ((figures.change, levels[step - 1]), (figures.gain, levels[0])):
                assert found is not None
                assert (found.mean.value, found.mean.low, found.mean.high, found.p) == pytest.approx(
                    by_hand(table - before, confidence), abs=1e-9
                )

    def test_p_values_are_corrected_for_the_judges(self) -> None:
        levels = levels_of(2, 6, 2)
        judges = {"up": mean_of_pixels, "down": lambda *batch: -mean_of_pixels(*batch), "own": contrast}
        validation = UniSimValidation(list("abcdef"), judges, seeds_per_prompt=2)
        validation(0, painter(levels[0]))
        figures = validation(1, painter(levels[1])).figures
        p = by_hand(levels[1] - levels[0])[3]
        corrected = multipletests([p, p, 1.0], method="holm")[1]
        assert [found.gain.p for found in figures.values() if found.gain] == pytest.approx(list(corrected))

    def test_prompts_of_one_text_are_one_group(self) -> None:
        levels = levels_of(1, 4, 1)[0]
        apart = brightness(["a", "b", "c", "d"], seeds_per_prompt=1)(0, painter(levels))
        together = brightness(["a", "b", "a", "b"], seeds_per_prompt=1)(0, painter(levels))
        assert together.figures["brightness"].mean.low == pytest.approx(
            by_hand(levels.reshape(2, 2).T)[1], abs=1e-9
        )
        assert apart.figures["brightness"].mean.low != together.figures["brightness"].mean.low

    def test_of_a_single_prompt_each_seed_counts(self) -> None:
        levels = levels_of(1, 1, 6)[0]
        mean = brightness(["a"], seeds_per_prompt=6)(0, painter(levels)).figures["brightness"].mean
        assert (mean.value, mean.low, mean.high) == pytest.approx(by_hand(levels.T)[:3], abs=1e-9)

    def test_a_single_picture_has_no_interval(self) -> None:
        validation = brightness(["a"], seeds_per_prompt=1, patience=1)
        validation(0, painter(np.array([0.5])))
        result = validation(1, painter(np.array([0.75])))
        gain = result.figures["brightness"].gain
        assert gain is not None and gain.mean.value == pytest.approx(0.25) and gain.p == 1
        assert np.isnan([gain.mean.low, gain.mean.high]).all()
        assert set(result.scalars()) == {
            f"validation/brightness/{name}" for name in ("mean", "change", "gain")
        }
        assert "+0.2500" in str(result)
        assert validation.flatness() is None and not validation.is_flat

    def test_a_result_as_text_and_scalars(self) -> None:
        validation = brightness(seeds_per_prompt=1)
        first = validation(0, painter(np.array([0.1, 0.2, 0.3])))
        second = validation(50, painter(np.array([0.2, 0.4, 0.6])))
        assert str(first) == "step 0, the best so far\n  brightness  0.2000 [-0.0484, 0.4484]"
        scalars = second.scalars("eval")
        assert scalars["eval/brightness/gain"] == pytest.approx(0.2)
        assert scalars["eval/brightness/gain_low"] == pytest.approx(
            by_hand(np.array([[0.1], [0.2], [0.3]]))[1]
        )
        assert "gain +0.2000 [-0.0484, +0.4484], p = 0.074" in str(second)


class TestBest:
    def test_the_first_of_the_highest_means_is_kept(self) -> None:
        validation = brightness(["a", "b"], seeds_per_prompt=1)
        assert validation.best_step is None
        best = [
            validation(step, painter(np.full(2, level))).is_best
            for step, level in ((0, 0.25), (10, 0.5), (20, 0.5), (30, 0.375))
        ]
        assert best == [True, True, False, False]
        assert validation.best_step == 10 and validation.steps == [0, 10, 20, 30]

    def test_another_judge_may_decide(self) -> None:
        judges = {"up": mean_of_pixels, "down": lambda *batch: -mean_of_pixels(*batch)}
        validation = UniSimValidation(["a", "b"], judges, seeds_per_prompt=1, best_by="down")
        for step, level in enumerate((0.5, 0.25, 0.75)):
            validation(step, painter(np.full(2, level)))
        assert validation.best_step == 1
        assert list(validation.curve("up")) == [0, 1, 2]
        with pytest.raises(ValueError, match=r"`judge` must be one of \['up', 'down'\]"):
            validation.curve("quality")

    def test_the_curve_is_plotted(self) -> None:
        matplotlib = pytest.importorskip("matplotlib")
        matplotlib.use("Agg")
        validation = UniSimValidation(PROMPTS, {"$a_b$": mean_of_pixels})
        assert len(validation.plot()[1].lines[0].get_xdata()) == 0
        for step in (0, 5):
            validation(step, painter(levels_of(1, 3, 4, seed=step)))
        figure, axes = validation.plot()
        figure.canvas.draw()
        line = axes.lines[0]
        assert line.get_xdata().tolist() == [0, 5]
        assert line.get_ydata().tolist() == [figures.mean.value for figures in validation.curve().values()]
        assert axes.get_ylabel() == "$a_b$"


class TestFlatness:
    def test_the_rule_by_hand(self) -> None:
        seen = set()
        for seed in range(12):
            random_ = np.random.default_rng(seed)
            levels = (
                0.5
                + 0.01 * random_.standard_normal((5, 8, 2))
                + 0.003 * seed * np.arange(5)[:, None, None] / 4
            )
            validation = brightness([f"a {number}" for number in range(8)], seeds_per_prompt=2, patience=3)
            for step, table in enumerate(levels):
                validation(step, painter(table))
                assert (validation.flatness() is None) == (step < 3)
            tests = [
                stats.ttest_rel(late.mean(axis=1), levels[1].mean(axis=1), alternative="greater")
                for late in levels[2:]
            ]
            smallest = min(test.pvalue for test in tests)
            flatness = validation.flatness()
            assert flatness is not None and flatness.since == 1
            assert flatness.is_flat == validation.is_flat == (smallest > 0.05 / 3)
            assert flatness.p == pytest.approx(min(1.0, 3 * smallest))
            errors = [(late - levels[1]).mean(axis=1).std(ddof=1) / np.sqrt(8) for late in levels[2:]]
            quantiles = stats.t.ppf(1 - 0.05 / 3, 7) + stats.t.ppf(0.8, 7)
            assert flatness.detectable == pytest.approx(quantiles * max(errors))
            seen.add(flatness.is_flat)
        assert seen == {True, False}

    def test_what_does_not_change_is_flat(self) -> None:
        validation = brightness(patience=2)
        for step in range(3):
            validation(step, noise)
        assert validation.is_flat
        assert validation.flatness().detectable == 0  # type: ignore[union-attr]

    def test_how_often_it_errs(self) -> None:
        flat, _ = validation_flatness.measure(0.0, 12, runs=150, patience=2)
        assert flat >= binom.ppf(1e-3, 150, 0.95) / 150
        rising, ended = validation_flatness.measure(1.0, 12, runs=20, patience=2)
        assert rising == 0 and ended < 0.2


class TestRendering:
    @given(st.integers(1, 30))
    @settings(max_examples=8, deadline=None)
    def test_batches_do_not_matter(self, batch_size: int) -> None:
        whole, parts = brightness(batch_size=12), brightness(batch_size=batch_size)
        whole(0, noise)
        parts(0, noise)
        assert parts.scores(0)["brightness"].tolist() == whole.scores(0)["brightness"].tolist()

    def test_every_picture_has_its_own_seed_at_every_step(self) -> None:
        asked: list[tuple[list[str], list[int]]] = []

        def generate(prompts: list[str], generators: list[torch.Generator]) -> Tensor:
            asked.append((prompts, [generator.initial_seed() for generator in generators]))
            return noise(prompts, generators)

        validation = brightness(["a", "b"], seeds_per_prompt=2, seed=7, batch_size=3)
        validation(0, generate)
        assert asked == [(["a", "a", "b"], [7, 8, 9]), (["b"], [10])]
        validation(1, generate)
        assert asked[2:] == asked[:2]
        assert validation.curve()[1].gain.mean.value == 0  # type: ignore[union-attr]

    @pytest.mark.parametrize("fails", [False, True])
    def test_random_numbers_of_the_training_are_not_touched(self, fails: bool) -> None:
        drawn: list[Tensor] = []

        def generate(prompts: list[str], generators: list[torch.Generator]) -> Tensor:
            drawn.append(torch.rand(2) + random.random() + np.random.rand())
            if fails:
                raise KeyError("mine")
            return noise(prompts, generators)

        def draw() -> tuple[Any, ...]:
            return random.random(), np.random.rand(), torch.rand(1).item()

        def seed() -> None:
            random.seed(1), np.random.seed(1), torch.manual_seed(1)

        seed()
        expected = draw()
        seed()
        validation = brightness(batch_size=100)
        if fails:
            with pytest.raises(KeyError):
                validation(0, generate)
            assert validation.steps == []
        else:
            validation(0, generate)
            validation(1, generate)
            assert torch.equal(drawn[0], drawn[1])  # what a model draws by itself is the same at every step
        assert draw() == expected

    def test_a_module_is_in_evaluation_mode_meanwhile(self) -> None:
        class Model(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.parts = nn.ModuleList([nn.Dropout(), nn.Dropout().eval()])

            def forward(self, prompts: list[str], generators: list[torch.Generator]) -> Tensor:
                assert not any(part.training for part in self.modules())
                return noise(prompts, generators)

        model = Model()
        validation = brightness()
        validation(0, model)
        validation(1, model.forward)
        assert [part.training for part in model.modules()] == [True, True, True, False]

    def test_no_graph_is_made(self) -> None:
        weight = nn.Parameter(torch.ones(1))

        def generate(prompts: list[str], generators: list[torch.Generator]) -> Tensor:
            images = noise(prompts, generators) * weight
            assert not images.requires_grad
            return images

        brightness()(0, generate)

    def test_the_wrong_number_of_images_is_refused(self) -> None:
        validation = brightness()
        with pytest.raises(
            ValueError, match="`generate` must make one image for each of 4 prompts, but made 3"
        ):
            validation(0, lambda prompts, generators: noise(prompts, generators)[:3])
        with pytest.raises(TypeError, match="`generate` must be a function"):
            validation(0, None)  # type: ignore[arg-type]
        assert validation.steps == []

    def test_some_pictures_are_kept_to_be_shown(self) -> None:
        validation = brightness(shown=2, seeds_per_prompt=3, batch_size=2)
        result = validation(0, noise)
        assert [(picture.prompt, picture.seed) for picture in result.pictures] == [("a cat", 0), ("a dog", 3)]
        for picture in result.pictures:
            expected = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(picture.seed))
            assert (tensor_of(picture.image) / 255 - expected).abs().max() < 0.003
            assert picture.scores["brightness"] == pytest.approx(float(expected.double().mean()), abs=1e-6)
        assert brightness(shown=0)(0, noise).pictures == []


class TestPipeline:
    @pytest.fixture(scope="class")
    def pipeline(self) -> Any:
        return tiny_scene_pipeline()

    def test_its_pictures_are_those_of_a_call(self, pipeline: Any) -> None:
        validation = UniSimValidation(
            ["a red ball", "a tent"], {"contrast": lambda images, *_: [0.0] * len(images)}, seeds_per_prompt=1
        )
        result = validation.run(
            pipeline, 0, num_inference_steps=2, guidance_scale=2.0, negative_prompt="a box"
        )
        for picture in result.pictures:
            expected = pipeline(
                picture.prompt,
                negative_prompt="a box",
                guidance_scale=2.0,
                num_inference_steps=2,
                generator=torch.Generator().manual_seed(picture.seed),
            ).images[0]
            # Convolutions of a batch differ in the last bits.
            assert np.abs(np.asarray(picture.image).astype(int) - np.asarray(expected)).max() <= 1

    @pytest.mark.parametrize("fails", [False, True])
    def test_it_is_left_as_it_was(self, pipeline: Any, fails: bool) -> None:
        pipeline.unet.train()
        pipeline.unet.mid_block.eval()
        pipeline.scheduler.set_timesteps(50)
        scheduler, times = pipeline.scheduler, pipeline.scheduler.timesteps.clone()
        modes = {name: part.training for name, part in pipeline.unet.named_modules()}
        attributes = {name: value for name, value in vars(pipeline).items() if name != "_guidance_scale"}
        seen = []

        def judge(images: Any, *_: Any) -> list[float]:
            seen.append(any(part.training for part in pipeline.unet.modules()))
            if fails:
                raise KeyError("mine")
            return [0.0] * len(images)

        validation = UniSimValidation(["a tent"], {"own": judge})
        try:
            validation.run(pipeline, 0, num_inference_steps=1)
        except KeyError:
            assert fails
        assert seen == [False]
        assert modes == {name: part.training for name, part in pipeline.unet.named_modules()}
        assert pipeline.scheduler is scheduler and torch.equal(scheduler.timesteps, times)
        assert scheduler.num_inference_steps == 50
        assert attributes["_progress_bar_config"] is pipeline._progress_bar_config
        assert all(not weight.grad_fn for weight in pipeline.unet.parameters())
        pipeline.unet.eval()

    def test_a_pipeline_that_shows_progress_goes_on_doing_so(self) -> None:
        pipeline = tiny_scene_pipeline()
        del pipeline._progress_bar_config
        UniSimValidation(["a tent"], {"own": lambda images, *_: [0.0] * len(images)}).run(
            pipeline, 0, num_inference_steps=1
        )
        assert not hasattr(pipeline, "_progress_bar_config")

    def test_what_cannot_serve_is_refused(self, pipeline: Any) -> None:
        validation = brightness()
        with pytest.raises(TypeError, match="`pipe` must be a `DiffusionPipeline`"):
            validation.run(nn.Identity(), 0)
        for name in ("prompt", "generator", "num_images_per_prompt"):
            with pytest.raises(ValueError, match=f"`{name}` must not be given"):
                validation.run(pipeline, 0, **{name: 1})
        with pytest.raises(TypeError, match="`steps` is taken neither here nor by StableDiffusionPipeline"):
            validation.run(pipeline, 0, steps=3)
        unet = pipeline.unet
        pipeline.unet = nn.DataParallel(unet)
        try:
            with pytest.raises(ValueError, match=r"its unet is a DataParallel.*unwrap it"):
                validation.run(pipeline, 0)
        finally:
            pipeline.unet = unet
        assert validation.steps == []


class TestJudges:
    def test_models_are_asked_as_by_hand(self, tiny_model: Any, plain: PlainClip) -> None:
        images = [photo.resize((32, 32)) for photo in photos(6)]
        reference = [photo.resize((32, 32)) for photo in photos(5, seed=9)]
        references = [reference[0], reference[1:3], tuple(reference[3:])]
        weighted = PointwiseReward(tiny_model, {"image-text": 0.5, "image-image": 2.0}, reference_key="mine")
        validation = UniSimValidation(
            PROMPTS,
            {"image-text": tiny_model, "quality": tiny_model, "image-image": tiny_model, "both": weighted},
            references=references,
            seeds_per_prompt=2,
            batch_size=4,
        )
        validation(0, lambda prompts, generators: [images[g.initial_seed()] for g in generators])
        scores = validation.scores(0)
        embedded, texts = plain.images(images), plain.texts(PROMPTS)
        aligned = (embedded * texts.repeat(2, axis=0)).sum(axis=1)
        alike = [
            np.mean(
                embedded[place]
                @ plain.images(list(wanted) if isinstance(wanted, list | tuple) else [wanted]).T
            )
            for place, wanted in enumerate(reference for reference in references for _ in range(2))
        ]
        np.testing.assert_allclose(scores["image-text"], aligned, atol=2e-6)
        np.testing.assert_allclose(scores["quality"], plain.attribute(images, "quality", "naive"), atol=2e-6)
        np.testing.assert_allclose(scores["image-image"], alike, atol=2e-6)
        np.testing.assert_allclose(scores["both"], 0.5 * aligned + 2 * np.array(alike), atol=5e-6)
        signatures = validation.signatures
        assert "task:image-text" in signatures["image-text"]  # type: ignore[operator]
        assert signatures["both"].startswith("0.5 × unisim|") and " + 2 × unisim|" in signatures["both"]  # type: ignore[union-attr]

    def test_a_subject_is_for_all_prompts(self, tiny_model: Any, plain: PlainClip) -> None:
        instance, made = photos(3, seed=5), photos(4)
        validation = UniSimValidation(
            ["a dog", "a red dog"], {"image-image": tiny_model}, subject=instance, seeds_per_prompt=2
        )
        validation(0, lambda prompts, generators: [made[g.initial_seed()] for g in generators])
        expected = (plain.images(made) @ plain.images(instance).T).mean(axis=1)
        np.testing.assert_allclose(validation.scores(0)["image-image"], expected, atol=2e-6)

    def test_a_reward_that_is_trained_on_sees_nothing_of_the_validation(self, exact: Any) -> None:
        reward = PointwiseReward(exact, watch={"quality": exact})
        validation = UniSimValidation(PROMPTS, {"reward": reward})
        validation(0, noise)
        assert reward.drifts["quality"].seen == 0

    def test_a_function_learns_of_seeds_and_references(self) -> None:
        seen: list[Any] = []

        def judge(images: Any, prompts: list[str], metadata: list[dict[str, Any]]) -> NDArray[np.float64]:
            seen.append((prompts, metadata))
            return np.zeros(len(images))

        wanted = photos(2)
        validation = UniSimValidation(["a", "b"], {"own": judge}, references=wanted, seeds_per_prompt=1)
        validation(0, noise)
        assert seen == [
            (["a", "b"], [{"seed": 0, "references": [wanted[0]]}, {"seed": 1, "references": [wanted[1]]}])
        ]
        assert validation.signatures == {"own": None}

    @pytest.mark.parametrize(
        ("returned", "error"),
        [
            (lambda n: [0.0] * (n - 1), r"one score for each of 4 images, but 'own' gave shape \[3\]"),
            (lambda n: torch.zeros(n, 1), r"gave shape \[4, 1\]"),
            (lambda n: [float("nan")] * n, "finite scores, but 'own' gave 4 of 4"),
            (lambda n: 0.5, r"gave shape \[\]"),
        ],
    )
    def test_scores_that_are_none(self, returned: Any, error: str) -> None:
        validation = UniSimValidation(["a"], {"own": lambda images, *_: returned(len(images))})
        with pytest.raises(ValueError, match=error):
            validation(0, noise)
        assert validation.steps == []

    def test_what_is_no_judge(self, exact: Any) -> None:
        for judges, error, message in (
            ({}, ValueError, "at least one judge"),
            ([exact], TypeError, "must map names to judges, but got list"),
            ({"": exact}, ValueError, "names of letters"),
            (
                {"beauty": exact},
                ValueError,
                "for the task that its name says, but what stands under 'beauty'",
            ),
            ({"own": GroupwiseReward(exact)}, TypeError, "but got GroupwiseReward"),
            (
                {"image-image": exact},
                ValueError,
                "`references` or `subject` must be given for the judge 'image-image'",
            ),
        ):
            with pytest.raises(error, match=message):
                UniSimValidation(PROMPTS, judges)  # type: ignore[arg-type]


class TestArguments:
    @pytest.mark.parametrize(
        ("settings", "error"),
        [
            ({"seeds_per_prompt": 0}, "`seeds_per_prompt` must be an integer of at least 1, but got 0"),
            ({"batch_size": 1.5}, "`batch_size` must be an integer"),
            ({"patience": True}, "`patience` must be an integer of at least 1, but got True"),
            ({"shown": -1}, "`shown` must be an integer of at least 0"),
            ({"seed": 2**32 - 11}, r"`seed` must leave room for 12 seeds below 2\*\*32"),
            ({"confidence": 1.0}, "`confidence` must lie between 0 and 1"),
            ({"best_by": "beauty"}, r"`best_by` must be one of \['brightness'\], but got 'beauty'"),
            ({"references": photos(2)}, "for each of the 3 prompts, but got 2"),
            ({"references": photos(1)[0]}, "given as `subject`"),
            ({"references": photos(3), "subject": photos(1)}, "`subject` must be None beside `references`"),
            ({"subject": []}, "`subject`"),
        ],
    )
    def test_out_of_range(self, settings: dict[str, Any], error: str) -> None:
        with pytest.raises(ValueError, match=error):
            brightness(**settings)

    @pytest.mark.parametrize(
        ("prompts", "error", "message"),
        [
            ([], ValueError, "at least one text"),
            ("a cat", TypeError, "a list of texts, but got str"),
            (["a", None], TypeError, "NoneType at position 1"),
        ],
    )
    def test_what_are_no_prompts(self, prompts: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            brightness(prompts)

    @pytest.mark.parametrize("step", [-1, 1.0, True, None])
    def test_what_is_no_step(self, step: Any) -> None:
        with pytest.raises(ValueError, match="`step` must be an integer of at least 0"):
            brightness()(step, noise)


def three_steps(**settings: Any) -> UniSimValidation:
    validation = brightness(seeds_per_prompt=2, **settings)
    for step, table in enumerate(levels_of(3, 3, 2)):
        validation(10 * step, painter(table))
    return validation


def same(first: UniSimValidation, second: UniSimValidation) -> bool:
    return first.steps == second.steps and all(
        np.array_equal(first.scores(step)["brightness"], second.scores(step)["brightness"])
        for step in first.steps
    )


class TestHistory:
    def test_a_state_is_plain_and_comes_back_to_the_bit(self, tmp_path: Path) -> None:
        validation = three_steps()
        torch.save(validation.state_dict(), tmp_path / "state.pt")
        for state in (
            torch.load(tmp_path / "state.pt", weights_only=True),
            json.loads(json.dumps(validation.state_dict())),
        ):
            other = brightness(seeds_per_prompt=2)
            other.load_state_dict(state)
            assert same(other, validation)
            assert other.best_step == validation.best_step
            assert other.curve() == validation.curve()

    def test_a_file_follows_and_is_gone_on_with(self, tmp_path: Path) -> None:
        path = tmp_path / "history.jsonl"
        validation = three_steps(path=path)
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        assert lines[0]["prompts"] == PROMPTS and [line["step"] for line in lines[1:]] == [0, 10, 20]
        assert lines[2]["scores"]["brightness"] == validation.scores(10)["brightness"].tolist()
        resumed = brightness(seeds_per_prompt=2, path=path)
        assert same(resumed, validation)
        levels = levels_of(1, 3, 2, seed=3)[0]
        assert resumed(30, painter(levels)).figures == validation(30, painter(levels)).figures

    def test_a_training_that_went_back(self, tmp_path: Path) -> None:
        validation = three_steps(path=tmp_path / "history.jsonl")
        with pytest.warns(
            UserWarning, match=r"Step 10 is validated after step 20.*\[10, 20\] are dropped"
        ) as told:
            validation(10, noise)
        assert told[0].filename == __file__
        assert validation.steps == [0, 10]
        assert same(brightness(seeds_per_prompt=2, path=tmp_path / "history.jsonl"), validation)
        state = three_steps().state_dict()
        validation.load_state_dict(state)
        assert same(brightness(seeds_per_prompt=2, path=tmp_path / "history.jsonl"), three_steps())

    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            ({"prompts": [*PROMPTS[:2], "a box"]}, "other prompts"),
            ({"seed": 1}, "other seed"),
            ({"seeds_per_prompt": 3}, "other seeds_per_prompt"),
            ({"subject": photos(1)}, "other references"),
        ],
    )
    def test_of_something_else_is_refused(self, tmp_path: Path, settings: dict[str, Any], told: str) -> None:
        path = tmp_path / "history.jsonl"
        state = three_steps(path=path).state_dict()
        before = path.read_bytes()
        settings = {"seeds_per_prompt": 2, **settings}
        with pytest.raises(ValueError, match=told):
            brightness(path=path, **settings)
        other = brightness(**settings)
        with pytest.raises(ValueError, match=told):
            other.load_state_dict(state)
        assert other.steps == [] and path.read_bytes() == before

    def test_other_weights_are_refused(self, tiny_model: Any, exact: Any) -> None:
        first = UniSimValidation(["a dog"], {"quality": tiny_model})
        second = UniSimValidation(["a dog"], {"quality": exact})
        with pytest.raises(ValueError, match="a history of other judges"):
            second.load_state_dict(first.state_dict())

    def test_a_photo_that_was_changed_is_another(self, tmp_path: Path) -> None:
        first, second = photos(2)
        first.save(tmp_path / "me.png")
        before = brightness(subject=tmp_path / "me.png").state_dict()
        brightness(subject=tmp_path / "me.png").load_state_dict(before)
        second.save(tmp_path / "me.png")
        with pytest.raises(ValueError, match="other references"):
            brightness(subject=tmp_path / "me.png").load_state_dict(before)

    @given(st.data())
    @settings(max_examples=40, deadline=None)
    def test_a_damaged_file_is_refused_and_stays(self, tmp_path_factory: Any, data: st.DataObject) -> None:
        path = tmp_path_factory.mktemp("damaged") / "history.jsonl"
        three_steps(path=path)
        lines = path.read_text(encoding="utf-8").splitlines()
        place = data.draw(st.integers(0, 3))
        damaged = data.draw(
            st.sampled_from(
                ["", "{", "[]", "null", '{"step": 10}', '{"step": -1, "scores": {}}', '{"step": 10, "scores": 3}']
                + [
                    json.dumps({"step": step, "scores": {"brightness": scores}})
                    for step, scores in (
                        (True, [0.5] * 6), (10, [0.5] * 5), (10, [float("nan")] * 6), (10, ["0.5"] * 6),
                        (10, [10**400] + [0.5] * 5), (99, [0.5, None] * 3),
                    )
                ]
            )
        )  # fmt: skip
        lines[place] = damaged
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        before = path.read_bytes()
        with pytest.raises(ValueError, match=r"history\.jsonl must hold"):
            brightness(seeds_per_prompt=2, path=path)
        assert path.read_bytes() == before

    @pytest.mark.parametrize(
        "state", [None, [], {}, {"validations": 3}, {"unisim_validation": 2, "validations": []}]
    )
    def test_what_is_no_state(self, state: Any) -> None:
        validation = three_steps()
        with pytest.raises(ValueError, match="must"):
            validation.load_state_dict(state)
        assert same(validation, three_steps())

    def test_a_step_that_was_not_validated(self) -> None:
        with pytest.raises(ValueError, match=r"`step` must be one of \[0, 10, 20\], but got 5"):
            three_steps().scores(5)


def test_results_are_public() -> None:
    assert isinstance(brightness()(0, noise), ValidationResult)
