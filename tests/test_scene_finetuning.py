"""The examples that fine-tune the scene model, in small: a LoRA, and policy optimisation on a reward."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import get_peft_model_state_dict
from PIL import Image
from tiny_scenes import tiny_scene_pipeline
from torch.distributions import Normal

from docs.experiments.scenes import grpo, lora
from docs.experiments.scenes.drawing import COLOURS, draw, random_scene
from docs.experiments.scenes.finetuning import (
    FineTuning,
    Sampling,
    add_lora,
    confirm,
    embed_prompts,
    share_of_the_colour,
    wanted_scenes,
)
from unisim_metrics import UniSimScore

ONE = Sampling(seeds=1, steps=1)


def test_the_colour_that_is_wanted_is_told() -> None:
    pictures = [draw(random_scene(1, colour=colour)) for colour in COLOURS]
    assert share_of_the_colour(pictures) == [float(colour == "purple") for colour in COLOURS]
    scenes, others = wanted_scenes(), wanted_scenes(1)
    assert len({prompt for prompt, _ in scenes}) == 15
    assert [prompt for prompt, _ in others] == [prompt for prompt, _ in scenes]
    references = [reference for _, reference in (*scenes, *others)]
    assert len({reference.tobytes() for reference in references}) == 30
    assert share_of_the_colour(references) == [1.0] * 30


def test_a_lora_is_validated_and_its_best_step_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = tiny_scene_pipeline()
    frozen = {name: weight.clone() for name, weight in pipe.unet.named_parameters()}
    run = FineTuning(pipe, 2, ONE, tmp_path)
    lora.learn(run, lora.Settings(steps=2, every=1, batch=2, scenes=3))
    validation = run.validation
    assert validation.steps == [0, 1, 2]
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert len(printed) == 3
    assert validation.best_step == max(step for step in range(3) if "best so far" in printed[step])
    gain = validation.curve("image-image")[2].gain
    assert gain is not None and gain.mean.value != 0
    weights = {name.replace(".base_layer", ""): weight for name, weight in pipe.unet.named_parameters()}
    assert all(torch.equal(weights[name], weight) for name, weight in frozen.items())
    run.draw_curves()
    with Image.open(tmp_path / "curves.png") as curves:
        assert curves.width > curves.height


def test_a_gain_is_confirmed_by_other_pictures(tmp_path: Path) -> None:
    pipe = tiny_scene_pipeline()
    pipe.save_pretrained(tmp_path / "model")
    run = FineTuning(pipe, 2, ONE, tmp_path)
    with torch.no_grad():
        for weight in run.weights:
            weight.normal_()
    run.validate(0)
    kept = tiny_scene_pipeline()
    kept.load_lora_weights(tmp_path / "best")
    (adapter,) = kept.get_active_adapters()
    loaded = get_peft_model_state_dict(kept.unet, adapter_name=adapter)
    learned = get_peft_model_state_dict(pipe.unet)
    assert loaded.keys() == learned.keys()
    for name, weight in learned.items():
        torch.testing.assert_close(loaded[name], weight)
    found = confirm(tmp_path / "model", tmp_path / "best", ONE)
    assert (found.base_step, found.step) == (0, 1)
    seeds = {sample.seed for sample in run.validation.plan.samples}
    assert len(found.pictures) == 15 and not seeds & {picture.seed for picture in found.pictures}

    # The same by hand: the base and the LoRA, each picture from its own seed, held against its own reference.
    base, tuned = tiny_scene_pipeline(), tiny_scene_pipeline()
    tuned.load_lora_weights(tmp_path / "best")
    references = [reference for _, reference in wanted_scenes(1)]
    means = []
    for each in (base, tuned):
        pictures = [
            each(
                picture.prompt,
                num_inference_steps=1,
                guidance_scale=2.5,
                generator=torch.Generator().manual_seed(picture.seed),
            ).images[0]
            for picture in found.pictures
        ]
        means.append(UniSimScore()(pictures, references).item())
    gain = found.figures["image-image"].gain
    assert gain is not None and gain.mean.value == pytest.approx(means[1] - means[0], abs=5e-4)
    assert abs(gain.mean.value) > 1e-3


@pytest.mark.parametrize(
    ("module", "options"),
    [
        (lora, ["--steps", "1", "--every", "1", "--batch", "1"]),
        (grpo, ["--iterations", "1", "--every", "1", "--prompts", "1", "--group", "2"]),
    ],
)
def test_the_commands_take_the_folder_of_a_model(
    module: Any,
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    tiny_scene_pipeline().save_pretrained(tmp_path / "model")
    words = ["--model", str(tmp_path / "model"), "--out", str(tmp_path / "out"), *options]
    validated = ["--validation-seeds", "1", "--validation-steps", "1"]
    monkeypatch.setattr(sys, "argv", ["finetune", *words, *validated])
    runpy.run_module(module.__name__, run_name="__main__")
    assert {file.name for file in (tmp_path / "out").iterdir()} >= {"curves.png", "validation.jsonl"}
    printed = capsys.readouterr().out
    assert "step 0" in printed and "image-image" in printed
    confirmed = "step 1 against the base, by other seeds and references:\n  purple "
    assert (confirmed in printed) != ("no step is better than the base" in printed)


class TestPolicy:
    @pytest.fixture(scope="class")
    def pipe(self) -> Any:
        pipe = tiny_scene_pipeline()
        pipe.scheduler.set_timesteps(5)
        return pipe

    def test_a_step_is_that_of_the_scheduler(self, pipe: Any) -> None:
        torch.manual_seed(0)
        latents, texts = torch.randn(2, 4, 8, 8), embed_prompts(pipe, ["a red ball", "a tent"])
        # diffusers has no number for the first step, from pure noise, and ends the last one without noise.
        for time in pipe.scheduler.timesteps[1:-1]:
            with torch.no_grad():
                state = torch.get_rng_state()
                after, log_probability = grpo.move(pipe, latents, texts, time)
                torch.set_rng_state(state)
                velocity = pipe.unet(latents, time, texts).sample
                expected = pipe.scheduler.step(
                    velocity, time, latents, eta=1.0, variance_noise=torch.randn(2, 4, 8, 8)
                ).prev_sample
                torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-5)
                mean = pipe.scheduler.step(
                    velocity, time, latents, eta=1.0, variance_noise=torch.zeros(2, 4, 8, 8)
                ).prev_sample
                spread = (pipe.scheduler._get_variance(time, time - 200)) ** 0.5
                _, elsewhere = grpo.move(pipe, latents, texts, time, after + 0.1)
                normal = Normal(mean, spread)
                difference = (normal.log_prob(after) - normal.log_prob(after + 0.1)).mean(dim=(1, 2, 3))
                torch.testing.assert_close(log_probability - elsewhere, difference, rtol=1e-3, atol=1e-4)
            latents = after

    def test_a_sampled_picture_can_be_learned_from(self, pipe: Any) -> None:
        texts = embed_prompts(pipe, ["a tent"] * 3)
        pictures, taken = grpo.sample(pipe, texts, 3)
        assert pictures.shape == (3, 3, 64, 64) and pictures.min() >= 0 and pictures.max() <= 1
        assert len(taken) == 3 and torch.equal(taken[0].after, taken[1].before)
        step = taken[1]
        _, again = grpo.move(pipe, step.before, texts, step.time, step.after)
        torch.testing.assert_close(again, step.log_probability)

    def test_advantages_are_those_of_the_group(self) -> None:
        rewards = torch.tensor([0.0, 0.5, 1.0, 1.0, 0.5, 0.5])
        found = grpo.advantages_of(rewards, 3).view(2, 3).numpy()
        groups = rewards.view(2, 3).numpy()
        expected = (groups - groups.mean(1, keepdims=True)) / groups.std(1, ddof=1, keepdims=True)
        np.testing.assert_allclose(found, expected, atol=1e-3)
        assert grpo.advantages_of(torch.full((4,), 0.5), 2).tolist() == [0.0] * 4  # ties teach nothing

    def test_an_update_makes_winners_more_probable(self) -> None:
        pipe = tiny_scene_pipeline()
        weights = add_lora(pipe.unet, 4)
        optimizer = torch.optim.Adam(weights, lr=1e-2)
        torch.manual_seed(0)
        texts = embed_prompts(pipe, ["a tent"] * 4)
        _, taken = grpo.sample(pipe, texts, 2)
        advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])
        step = taken[0]
        before = step.log_probability
        for _ in range(5):
            torch.autograd.backward(grpo.loss_of(pipe, step, texts, advantages, 0.2))
            optimizer.step()
            optimizer.zero_grad()
        with torch.no_grad():
            _, after = grpo.move(pipe, step.before, texts, step.time, step.after)
        assert float(((after - before) * advantages).sum()) > 0

    def test_far_from_the_sampler_nothing_is_learned(self, pipe: Any) -> None:
        texts = embed_prompts(pipe, ["a tent"] * 2)
        _, (step, *_) = grpo.sample(pipe, texts, 2)
        away = step._replace(log_probability=step.log_probability - torch.tensor([1.0, -1.0]))
        pipe.unet.zero_grad()
        torch.autograd.backward(grpo.loss_of(pipe, away, texts, torch.tensor([1.0, -1.0]), 0.1))
        assert all(weight.grad is None or not weight.grad.any() for weight in pipe.unet.parameters())

    def test_end_to_end(self, tmp_path: Path) -> None:
        run = FineTuning(tiny_scene_pipeline(), 2, ONE, tmp_path)
        settings = grpo.Settings(iterations=2, every=1, prompts=1, group=2, sampling_steps=2, window=2)
        grpo.learn(run, settings)
        assert run.validation.steps == [0, 1, 2]
        gain = run.validation.curve("image-image")[2].gain
        assert gain is not None and gain.mean.value != 0
