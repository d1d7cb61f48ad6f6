"""The examples that fine-tune the scene model, in small: a LoRA, and policy optimisation on a reward."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_scenes import tiny_scene_pipeline
from torch.distributions import Normal

from docs.experiments.scenes import grpo, lora
from docs.experiments.scenes.drawing import COLOURS, draw, random_scene

FEW = lora.Settings(steps=2, every=1, batch=2, scenes=3, rank=2, seeds=1, sampling_steps=1)


def test_the_colour_that_is_wanted_is_told() -> None:
    pictures = [draw(random_scene(1, colour=colour)) for colour in COLOURS]
    assert lora.share_of_the_colour(pictures) == [float(colour == "purple") for colour in COLOURS]
    scenes = lora.wanted_scenes()
    assert len({prompt for prompt, _ in scenes}) == 15
    assert lora.share_of_the_colour([reference for _, reference in scenes]) == [1.0] * 15


def test_a_lora_is_validated_and_its_best_step_kept(tmp_path: Path) -> None:
    pipe = tiny_scene_pipeline()
    frozen = {name: weight.clone() for name, weight in pipe.unet.named_parameters()}
    told: list[Any] = []
    validation = lora.finetune(pipe, FEW, tmp_path, told.append)
    assert validation.steps == [result.step for result in told] == [0, 1, 2]
    assert validation.best_step == max(result.step for result in told if result.is_best)
    gain = validation.curve("image-image")[2].gain
    assert gain is not None and gain.mean.value != 0
    weights = {name.replace(".base_layer", ""): weight for name, weight in pipe.unet.named_parameters()}
    assert all(torch.equal(weights[name], weight) for name, weight in frozen.items())
    again = tiny_scene_pipeline()
    again.load_lora_weights(tmp_path / "best")
    assert any("lora" in name for name, _ in again.unet.named_parameters())
    lora.draw_curves(validation, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as curves:
        assert curves.width > curves.height


@pytest.mark.parametrize(
    ("module", "options"),
    [
        (lora, ["--steps", "1", "--every", "1", "--batch", "1", "--seeds", "1", "--sampling-steps", "1"]),
        (grpo, ["--iterations", "0", "--prompts", "1", "--group", "2"]),
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
    monkeypatch.setattr(sys, "argv", ["finetune", *words])
    monkeypatch.setattr(lora.Settings, "sampling_steps", 1)
    module.main()
    assert {file.name for file in (tmp_path / "out").iterdir()} >= {"curves.png", "validation.jsonl"}
    printed = capsys.readouterr().out
    assert "step 0" in printed and "image-image" in printed
    if module is lora:
        assert "best step 1: purple" in printed or "no step is better than the base" in printed


class TestPolicy:
    @pytest.fixture(scope="class")
    def pipe(self) -> Any:
        pipe = tiny_scene_pipeline()
        pipe.scheduler.set_timesteps(5)
        return pipe

    def test_a_step_is_that_of_the_scheduler(self, pipe: Any) -> None:
        torch.manual_seed(0)
        latents, texts = torch.randn(2, 4, 8, 8), lora.embed_prompts(pipe, ["a red ball", "a tent"])
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
        texts = lora.embed_prompts(pipe, ["a tent"] * 3)
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
        weights = lora.add_lora(pipe.unet, 4)
        optimizer = torch.optim.Adam(weights, lr=1e-2)
        torch.manual_seed(0)
        texts = lora.embed_prompts(pipe, ["a tent"] * 4)
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
        texts = lora.embed_prompts(pipe, ["a tent"] * 2)
        _, (step, *_) = grpo.sample(pipe, texts, 2)
        away = step._replace(log_probability=step.log_probability - torch.tensor([1.0, -1.0]))
        pipe.unet.zero_grad()
        torch.autograd.backward(grpo.loss_of(pipe, away, texts, torch.tensor([1.0, -1.0]), 0.1))
        assert all(weight.grad is None or not weight.grad.any() for weight in pipe.unet.parameters())

    def test_end_to_end(self, tmp_path: Path) -> None:
        pipe = tiny_scene_pipeline()
        settings = grpo.Settings(iterations=2, every=1, prompts=1, group=2, sampling_steps=2, window=2)
        told: list[Any] = []
        validation = grpo.finetune(pipe, settings, FEW, tmp_path, told.append)
        assert validation.steps == [0, 1, 2] and len(told) == 3
        gain = validation.curve("image-image")[2].gain
        assert gain is not None and gain.mean.value != 0
