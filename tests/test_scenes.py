"""Drawn scenes, the text-to-image model trained on them, and the measurement of rewards on it."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageStat
from scipy import stats

from docs.experiments import noise_search
from docs.experiments.intervals import interval
from docs.experiments.scenes.comparison import TASKS, Comparison, Measured, Settings
from docs.experiments.scenes.descent import descend
from docs.experiments.scenes.drawing import (
    COLOURS,
    GROUNDS,
    SHAPES,
    Scene,
    caption,
    draw,
    random_caption,
    random_scene,
)
from docs.experiments.scenes.judge import (
    Judge,
    accuracy,
    object_colour,
    train_judge,
    unseen_scenes,
)
from docs.experiments.scenes.measure import SINGLE, judges, measure
from docs.experiments.scenes.recipe import Autoencoder, Denoiser, Descent, Recipe
from docs.experiments.scenes.report import table
from docs.experiments.scenes.train import train
from unisim_metrics.integrations.diffusers import best_of_n

FEW = Descent(steps=3, batch=4, learning_rate=1e-3, warmup=1, save_every=2)
TINY = Recipe(
    scenes=16,
    autoencoder=Autoencoder((8, 8, 8, 8), latent_channels=4, descent=FEW, sharpening=FEW),
    denoiser=Denoiser((16, 32), attention_heads=2, norm_num_groups=8, descent=FEW),
)
SHORT = Settings(seeds=2, candidates=4, steps=3, batch=2)

scenes = st.builds(
    Scene,
    st.sampled_from(SHAPES),
    st.sampled_from(list(COLOURS)),
    st.sampled_from(GROUNDS),
    st.integers(0, 2**40),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scenes")
    train(out, TINY)
    return out


@pytest.fixture(scope="module")
def pipe(run: Path) -> StableDiffusionPipeline:
    pipe = StableDiffusionPipeline.from_pretrained(run / "pipeline")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def judge() -> Judge:
    return train_judge(scenes=600, epochs=5)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


class TestDrawing:
    @given(scenes)
    @settings(max_examples=25, deadline=None)
    def test_a_scene_is_a_function_of_its_attributes_and_seed(self, scene: Scene) -> None:
        first, second = draw(scene), draw(replace(scene))
        assert first.size == (64, 64) and first.mode == "RGB"
        assert np.array_equal(pixels(first), pixels(second))
        assert not np.array_equal(pixels(first), pixels(draw(replace(scene, seed=scene.seed + 1))))

    @given(scenes)
    @settings(max_examples=40, deadline=None)
    def test_the_pixels_show_the_colour_of_the_caption(self, scene: Scene) -> None:
        assert object_colour(draw(scene)) == scene.colour

    @given(scenes, st.sampled_from(list(COLOURS)))
    @settings(max_examples=25, deadline=None)
    def test_another_colour_changes_the_object_alone(self, scene: Scene, colour: Any) -> None:
        before, after = pixels(draw(scene)), pixels(draw(replace(scene, colour=colour)))
        changed = (before != after).any(axis=-1)
        if colour == scene.colour:
            assert not changed.any()
        else:
            rows, columns = np.nonzero(changed)
            assert 0.02 < changed.mean() < 0.4
            assert np.ptp(columns) < 48 and rows.min() > 0
            # what changed is vivid, on average, and what did not is not
            chroma = np.ptp(after.astype(int), axis=-1)
            assert chroma[changed].mean() > 1.5 * chroma[~changed].mean()

    def test_grounds_differ_in_brightness_and_hue(self) -> None:
        means = {}
        for ground in GROUNDS:
            tops = [draw(random_scene(seed, ground=ground)).crop((0, 58, 64, 64)) for seed in range(20)]
            means[ground] = np.mean([ImageStat.Stat(top).mean for top in tops], axis=0)
        assert means["snow"].min() > 190 > 60 > means["night"].max()
        assert means["grass"].argmax() == 1 and means["water"].argmax() == 2 and means["beach"].argmax() == 0

    def test_giving_one_attribute_leaves_the_others(self) -> None:
        for seed in range(20):
            free, given_colour = random_scene(seed), random_scene(seed, colour="purple")
            assert given_colour == replace(free, colour="purple")

    def test_attributes_are_drawn_alike(self) -> None:
        drawn = [random_scene(seed) for seed in range(3000)]
        for name, values in (("shape", SHAPES), ("colour", tuple(COLOURS)), ("ground", GROUNDS)):
            counts = [sum(getattr(scene, name) == value for scene in drawn) for value in values]
            assert stats.chisquare(counts).pvalue > 1e-4

    def test_captions(self) -> None:
        assert caption("ball", "red", "grass") == "a red ball on the grass"
        assert caption("ball", None, "night") == "a ball at night"
        assert caption("tent", "blue") == "a blue tent"
        scene = Scene("box", "green", "snow", 3)
        rng = np.random.default_rng(0)
        found = [random_caption(scene, rng) for _ in range(2000)]
        assert set(found) == {"a green box in the snow", "a box in the snow", "a green box", "a box"}
        assert abs(np.mean(["green" in text for text in found]) - 2 / 3) < 0.05


class TestJudge:
    def test_it_is_right_about_scenes_it_never_saw(self, judge: Judge) -> None:
        unseen = unseen_scenes(150)
        shares = accuracy(judge, [draw(scene) for scene in unseen], unseen)
        assert shares["colour by pixels"] == 1.0
        assert shares["colour"] > 0.85 and shares["ground"] > 0.85 and shares["shape"] > 0.6

    def test_no_vivid_object_has_no_colour(self) -> None:
        assert object_colour(Image.new("RGB", (64, 64), (120, 130, 90))) is None


class TestTraining:
    def test_plain_diffusers_loads_and_samples(self, pipe: StableDiffusionPipeline) -> None:
        def sample(seed: int) -> Image.Image:
            noise = torch.Generator().manual_seed(seed)
            image: Image.Image = pipe("a red ball", num_inference_steps=3, generator=noise).images[0]
            return image

        assert sample(0).size == (64, 64)
        assert np.array_equal(pixels(sample(0)), pixels(sample(0)))
        assert not np.array_equal(pixels(sample(0)), pixels(sample(1)))

    def test_the_text_encoder_is_the_bundled_model_s_before_it_pools(
        self, pipe: StableDiffusionPipeline
    ) -> None:
        from unisim_metrics import load_model

        bundled = load_model("unisim-mini")
        texts = ["a red ball", "a blue tent in the snow"]
        tokens = bundled.tokenize(texts)
        *_, before, pooled = bundled.backbone.text_model(**tokens, output_hidden_states=True).hidden_states
        encoded, _ = pipe.encode_prompt(texts, "cpu", 1, do_classifier_free_guidance=False)
        assert encoded.shape[1] == pipe.tokenizer.model_max_length == TINY.tokens
        for row, expected, flat, mask in zip(encoded, before, pooled, tokens["attention_mask"], strict=True):
            length = int(mask.sum())
            torch.testing.assert_close(row[:length], expected[:length], rtol=1e-4, atol=1e-5)
            assert expected[:length].std(dim=0).mean() > 100 * flat[:length].std(dim=0).mean()

    def test_latents_have_unit_variance(self, pipe: StableDiffusionPipeline) -> None:
        batch = torch.stack([torch.tensor(pixels(draw(random_scene(seed)))) for seed in range(16)])
        normalised = batch.permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.no_grad():
            latents = pipe.vae.encode(normalised).latent_dist.mean * pipe.vae.config.scaling_factor
        assert float(latents.std()) == pytest.approx(1.0, rel=1e-3)

    def test_a_sharper_decoder_leaves_the_latents(self, run: Path) -> None:
        first, second = (
            AutoencoderKL.from_pretrained(run / name).state_dict() for name in ("autoencoder", "decoder")
        )
        changed = {name.split(".")[0] for name in first if not torch.equal(first[name], second[name])}
        assert changed == {"post_quant_conv", "decoder"}

    def test_a_finished_run_is_left_as_it_is(self, run: Path) -> None:
        weights = run / "denoiser" / "diffusion_pytorch_model.safetensors"
        before = weights.stat().st_mtime_ns
        train(run, TINY)
        assert weights.stat().st_mtime_ns == before

    def test_another_recipe_is_refused(self, run: Path) -> None:
        with pytest.raises(ValueError, match="another recipe"):
            train(run, replace(TINY, seed=1))

    @pytest.mark.parametrize("schedule", ["cosine", "constant_with_warmup"])
    def test_a_killed_run_goes_on_as_if_it_had_not_been(self, tmp_path: Path, schedule: Any) -> None:
        def module() -> torch.nn.Linear:
            torch.manual_seed(0)
            return torch.nn.Linear(3, 2)

        class Killed(Exception):
            pass

        def loss(of: torch.nn.Module, until: int | None = None) -> Any:
            calls: list[int] = []

            def of_batch(generator: torch.Generator) -> torch.Tensor:
                calls.append(0)
                if len(calls) == until:
                    raise Killed
                value: torch.Tensor = of(torch.randn(4, 3, generator=generator)).square().mean()
                return value

            return of_batch

        descent = Descent(steps=7, batch=4, learning_rate=0.1, schedule=schedule, warmup=2, save_every=3)
        whole, halved, resumed = module(), module(), module()
        descend(whole, loss(whole), descent, 0, tmp_path / "whole.pt")
        with pytest.raises(Killed):
            descend(halved, loss(halved, until=6), descent, 0, tmp_path / "halved.pt")
        descend(resumed, loss(resumed), descent, 0, tmp_path / "halved.pt")
        assert torch.equal(whole.weight, resumed.weight) and torch.equal(whole.bias, resumed.bias)
        assert not torch.equal(whole.weight, module().weight)

    @pytest.mark.parametrize(
        ("schedule", "rates"),
        [
            ("constant_with_warmup", [0, 1 / 4, 2 / 4, 3 / 4, 1, 1, 1, 1]),
            ("cosine", [0, 1 / 4, 2 / 4, 3 / 4] + [(1 + np.cos(np.pi * step / 4)) / 2 for step in range(4)]),
        ],
    )
    def test_the_learning_rate_follows_its_schedule(
        self, tmp_path: Path, schedule: Any, rates: list[float]
    ) -> None:
        module = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.ones_(module.weight)
        seen: list[float] = []

        def loss(generator: torch.Generator) -> torch.Tensor:
            seen.append(module.weight.item())
            value: torch.Tensor = module.weight.sum()
            return value

        descent = Descent(steps=8, batch=1, learning_rate=1e-3, schedule=schedule, warmup=4)
        descend(module, loss, descent, 0, tmp_path / "run.pt")
        # The gradient stays the same: Adam goes by the learning rate, and weights decay by 1 % of it.
        for (before, after), rate in zip(pairwise(seen), rates[:-1], strict=True):
            assert before * (1 - 1e-2 * 1e-3 * rate) - after == pytest.approx(1e-3 * rate, abs=1e-6)


class TestMeasuring:
    def test_end_to_end(self, pipe: StableDiffusionPipeline, judge: Judge, tmp_path: Path) -> None:
        found = measure(pipe, judge, SHORT, tmp_path)
        assert list(found) == [task.title for task in TASKS]
        for rows in found.values():
            assert {SINGLE, "guided", "best of 2", "best of 4"} <= rows.keys()
            best = [rows[name] for name in (SINGLE, "best of 2", "best of 4")]
            for smaller, larger in pairwise(best):
                assert all(few.reward <= many.reward for few, many in zip(smaller, larger, strict=True))
        written = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))["measured"]
        for title, rows in found.items():
            for name, measured in rows.items():
                assert [Measured(**one) for one in written[title][name]] == measured
        tables = (tmp_path / "tables.md").read_text(encoding="utf-8")
        assert all(f"### {task.title.capitalize()}" in tables for task in TASKS)
        with Image.open(tmp_path / "grid.png") as sheet:
            assert sheet.width > 2 * 4 * 96
        assert "| as drawn |" in judges(judge, pipe, count=8)

    def test_single_guided_with_scale_0_and_best_of_n_share_their_noise(
        self, pipe: StableDiffusionPipeline, judge: Judge
    ) -> None:
        comparison = Comparison(pipe, TASKS[0], judge, replace(SHORT, batch=1))
        single = comparison.best_of(1)
        for picture, same in zip(single, comparison.guided(scale=0.0), strict=True):
            assert np.array_equal(pixels(picture), pixels(same))
        for picture, moved in zip(single, comparison.guided(), strict=True):
            assert not np.array_equal(pixels(picture), pixels(moved))
        ranked = best_of_n(
            pipe,
            comparison.prompts[1],
            n=4,
            seed=10_000,
            reference=comparison.references[1],
            num_inference_steps=SHORT.steps,
            guidance_scale=SHORT.guidance_scale,
        )
        assert np.array_equal(pixels(comparison.best_of(4)[1]), pixels(ranked.best))
        assert comparison.rewards[1] == pytest.approx(
            [score for _, score in sorted(zip(ranked.seeds, ranked.scores.tolist(), strict=True))], abs=1e-6
        )

    def test_a_search_has_its_first_candidates_from_the_pool(
        self, pipe: StableDiffusionPipeline, judge: Judge
    ) -> None:
        comparison = Comparison(pipe, TASKS[0], judge, replace(SHORT, batch=1))
        first, searched = comparison.best_of(2), comparison.searched(rounds=2, radius=0.5)
        rows = range(SHORT.seeds)
        before, after = comparison.reward(first, rows), comparison.reward(searched, rows)
        assert all(one <= other + 1e-6 for one, other in zip(before, after, strict=True))
        for index, picture in enumerate(searched):
            known = any(np.array_equal(pixels(picture), pixels(one)) for one in comparison.candidates[index])
            assert known == np.array_equal(pixels(picture), pixels(first[index]))

    def test_searches_stand_against_as_many_independent_candidates(
        self,
        run: Path,
        pipe: StableDiffusionPipeline,
        judge: Judge,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(noise_search, "train_judge", lambda: judge)
        few = ["--references", "2", "--n", "2", "--rounds", "2", "--steps", "3", "--threads", "1"]
        noise_search.main(
            ["--model", str(run / "pipeline"), "--rewards", "alignment", "--radii", "0.5", *few]
        )
        title, _, _, _, independent, searched, _ = capsys.readouterr().out.splitlines()
        assert title == "### Alignment with the full caption"
        assert independent.startswith("| best of 4 independent | ")
        assert searched.startswith("| 2 × 2, radius 0.5 | ")
        comparison = Comparison(pipe, TASKS[2], judge, replace(SHORT, seeds=2, candidates=4))
        best = np.mean([one.reward for one in comparison.measure(comparison.best_of(4))])
        assert independent.split("|")[2].split()[0] == f"{best:.3f}"

    def test_what_prompts_leave_open(self) -> None:
        scene = Scene("ball", "red", "grass", 0)
        assert [task.prompt(scene) for task in TASKS] == [
            "a ball on the grass",
            "a red ball",
            "a red ball on the grass",
            "a red ball on the grass",
        ]

    @given(st.lists(st.floats(-10, 10), min_size=3, max_size=30))
    @settings(max_examples=25, deadline=None)
    def test_intervals_are_student_s(self, values: list[float]) -> None:
        mean, half = interval(values)
        assert mean == pytest.approx(np.mean(values), abs=1e-9)
        if np.ptp(values) > 1e-6:
            low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
            assert (mean - half, mean + half) == pytest.approx((low, high), rel=1e-6, abs=1e-9)

    def test_a_difference_beyond_its_interval_is_bold(self) -> None:
        def rows(rewards: list[float]) -> list[Measured]:
            return [Measured(reward, True, True, True) for reward in rewards]

        base = [0.1, 0.5, 0.3, 0.2]
        text = table(
            TASKS[2],
            {
                "a": rows(base),
                "b": rows([value + 0.1 + 0.001 * value for value in base]),
                "c": rows(base[::-1]),
            },
        )
        _, _, first, second, third = text.splitlines()
        assert "(" not in first
        assert "(**+0.100 ± 0.000**)" in second
        assert "(" in third and "**" not in third
