"""A validation inside real trainings: Lightning's trainer, Accelerate's loop in diffusers' form, two processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_scenes import tiny_scene_pipeline
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from two_processes import run_in_two, set_launcher_environment

from unisim_metrics.integrations.validation import UniSimValidation

PROMPTS = ["a dark picture", "a bright picture", "a picture"]
STEPS = 6


def brightness(images: Tensor, *_: Any) -> Tensor:
    return images.double().mean(dim=(1, 2, 3))


def validation(**settings: Any) -> UniSimValidation:
    return UniSimValidation(PROMPTS, {"brightness": brightness}, seeds_per_prompt=2, **settings)


class Painter(nn.Module):
    """A generator of noise whose brightness is learned; dropout makes every step draw random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(-2.0))
        self.dropout = nn.Dropout(0.5)

    def forward(self, noise: Tensor) -> Tensor:
        assert noise.ndim == 4
        drawn: Tensor = self.dropout(noise * torch.sigmoid(self.level)).clamp(0, 1)
        return drawn

    def generate(self, prompts: list[str], generators: list[torch.Generator]) -> Tensor:
        return self(torch.stack([torch.rand(3, 8, 8, generator=generator) for generator in generators]))


def loss_of(painter: nn.Module, batch: Tensor) -> Tensor:
    loss: Tensor = (painter(batch) - 1).square().mean()
    return loss


def batches() -> DataLoader[Any]:
    data = torch.rand(4 * STEPS, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(data), batch_size=4)


def plain_training() -> Painter:
    """The training without any validation."""
    torch.manual_seed(0)
    painter = Painter().train()
    optimizer = torch.optim.Adam(painter.parameters(), lr=0.2)
    for (batch,) in batches():
        optimizer.zero_grad()
        loss_of(painter, batch).backward()
        optimizer.step()
    return painter


def lightning_module(library: Any) -> Any:
    """The training as a module of Lightning, of either name."""

    class Module(library.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.painter = Painter()

        def training_step(self, batch: Any, index: int) -> Tensor:
            assert self.painter.dropout.training
            return loss_of(self.painter, batch[0])

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.painter.parameters(), lr=0.2)

        def generate(self, prompts: list[str], generators: list[torch.Generator]) -> Tensor:
            assert not self.painter.dropout.training
            return self.painter.generate(prompts, generators)

    torch.manual_seed(0)
    return Module()


class TestLightning:
    @pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
    def library(self, request: pytest.FixtureRequest) -> Any:
        pytest.importorskip("lightning", reason="lightning is not installed")
        return pytest.importorskip(request.param, reason=f"{request.param} is not installed")

    def trainer(self, library: Any, folder: Path, *callbacks: Any, **settings: Any) -> Any:
        settings = {"logger": False, "max_epochs": 1, "enable_checkpointing": False, **settings}
        return library.Trainer(
            accelerator="cpu",
            callbacks=list(callbacks),
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
            **settings,
        )

    def test_a_training_goes_on_as_without_it(self, library: Any, tmp_path: Path) -> None:
        from unisim_metrics.integrations.validation.lightning import UniSimValidationCallback

        loggers = pytest.importorskip(f"{library.__name__}.loggers")
        checkpoints = pytest.importorskip(f"{library.__name__}.callbacks")
        monitor = checkpoints.ModelCheckpoint(
            tmp_path / "best", monitor="validation/brightness/mean", mode="max", every_n_train_steps=2,
            save_top_k=1, filename="{step}",
        )  # fmt: skip
        callback = UniSimValidationCallback(validation(), every_n_steps=2)
        logger = loggers.CSVLogger(tmp_path / "logs")
        module = lightning_module(library)
        self.trainer(
            library, tmp_path, callback, monitor, logger=logger, enable_checkpointing=True, max_epochs=2,
            limit_train_batches=3, log_every_n_steps=1,
        ).fit(module, DataLoader(batches().dataset, batch_size=4))  # fmt: skip
        curve = callback.validation.curve()
        assert list(curve) == [0, 2, 4, 6]
        means = [figures.mean.value for figures in curve.values()]
        assert means == sorted(means) and means[-1] > means[0] + 0.05
        assert callback.validation.best_step == 6
        (best,) = (tmp_path / "best").glob("*.ckpt")
        assert torch.load(best, weights_only=True)["global_step"] == 6
        assert float(monitor.best_model_score) == pytest.approx(means[-1])
        logged = (next(tmp_path.rglob("metrics.csv"))).read_text(encoding="utf-8")
        assert "validation/brightness/gain_low" in logged
        torch.manual_seed(0)
        plain = lightning_module(library)
        self.trainer(library, tmp_path, max_epochs=2, limit_train_batches=3).fit(
            plain, DataLoader(batches().dataset, batch_size=4)
        )
        assert torch.equal(plain.painter.level, module.painter.level)

    def test_a_training_that_is_resumed_goes_on_with_its_history(self, library: Any, tmp_path: Path) -> None:
        from unisim_metrics.integrations.validation.lightning import UniSimValidationCallback

        whole = UniSimValidationCallback(validation())
        self.trainer(library, tmp_path, whole, max_epochs=2).fit(lightning_module(library), batches())
        first = UniSimValidationCallback(validation())
        trainer = self.trainer(library, tmp_path, first)
        trainer.fit(lightning_module(library), batches())
        trainer.save_checkpoint(tmp_path / "half.ckpt")
        second = UniSimValidationCallback(validation())
        self.trainer(library, tmp_path, second, max_epochs=2).fit(
            lightning_module(library), batches(), ckpt_path=tmp_path / "half.ckpt"
        )
        assert first.validation.steps == [0, STEPS]
        assert second.validation.steps == whole.validation.steps == [0, STEPS, 2 * STEPS]
        assert second.result is not None and second.result.base_step == 0

    def test_a_flat_curve_ends_the_training(self, library: Any, tmp_path: Path) -> None:
        from unisim_metrics.integrations.validation.lightning import UniSimValidationCallback

        module = lightning_module(library)
        module.configure_optimizers = lambda: torch.optim.SGD(module.parameters(), lr=0.0)
        callback = UniSimValidationCallback(validation(patience=2), every_n_steps=1, stop_when_flat=True)
        trainer = self.trainer(library, tmp_path, callback)
        trainer.fit(module, batches())
        assert trainer.global_step == 2 and callback.validation.steps == [0, 1, 2]

    def test_accumulated_gradients_are_one_step(self, library: Any, tmp_path: Path) -> None:
        from unisim_metrics.integrations.validation.lightning import UniSimValidationCallback

        made: list[int] = []

        def generate(module: Any, prompts: list[str], generators: list[torch.Generator]) -> Tensor:
            made.append(len(prompts))
            images: Tensor = module.generate(prompts, generators)
            return images

        callback = UniSimValidationCallback(validation(batch_size=6), generate=generate, every_n_steps=1)
        self.trainer(library, tmp_path, callback, accumulate_grad_batches=3).fit(
            lightning_module(library), batches()
        )
        assert callback.validation.steps == [0, 1, 2] and made == [6, 6, 6]

    def test_a_pipeline_of_the_module(self, library: Any, tmp_path: Path) -> None:
        from unisim_metrics.integrations.validation.lightning import UniSimValidationCallback

        pipeline = tiny_scene_pipeline()

        class Module(library.LightningModule):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.unet = pipeline.unet

            def training_step(self, batch: Any, index: int) -> Tensor:
                assert self.unet.training
                noisy, text = batch[0][:, :1].repeat(1, 4, 1, 1), torch.zeros(4, 2, 384)
                loss: Tensor = self.unet(noisy, 5, text).sample.square().mean()
                return loss

            def configure_optimizers(self) -> Any:
                return torch.optim.Adam(self.unet.parameters(), lr=1e-3)

        judged = UniSimValidation(["a red ball"], {"image-text": "unisim-mini"}, seeds_per_prompt=2)
        callback = UniSimValidationCallback(
            judged, pipeline=lambda module: pipeline, num_inference_steps=1, every_n_steps=2
        )
        module = Module()
        module.train()
        self.trainer(library, tmp_path, callback, max_steps=2).fit(module, batches())
        assert judged.steps == [0, 2]
        gain = judged.curve()[2].gain
        assert gain is not None and gain.mean.value != 0

    def test_arguments(self, library: Any) -> None:
        from unisim_metrics.integrations.validation.lightning import UniSimValidationCallback

        with pytest.raises(TypeError, match="`validation` must be a `UniSimValidation`, but got dict"):
            UniSimValidationCallback({})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="`generate` must be None beside `pipeline`"):
            UniSimValidationCallback(validation(), generate=print, pipeline=print)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="`num_inference_steps` is for a pipeline"):
            UniSimValidationCallback(validation(), num_inference_steps=3)
        with pytest.raises(ValueError, match="`every_n_steps` must be an integer of at least 1, but got 0"):
            UniSimValidationCallback(validation(), every_n_steps=0)


def accelerated_training(
    judged: UniSimValidation | None, everywhere: bool, resume: Path | None = None
) -> Any:
    """The training in a loop of Accelerate; the model's weight at its end."""
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    torch.manual_seed(0)
    painter = Painter().train()
    optimizer = torch.optim.Adam(painter.parameters(), lr=0.2)
    painter, optimizer, data = accelerator.prepare(painter, optimizer, batches())
    if judged is not None:
        accelerator.register_for_checkpointing(judged)
    for step, (batch,) in enumerate(data):
        if judged is not None and step % 2 == 0 and (everywhere or accelerator.is_main_process):
            judged(step, accelerator.unwrap_model(painter).generate)
        optimizer.zero_grad()
        accelerator.backward(loss_of(painter, batch))
        optimizer.step()
    if resume is not None:
        accelerator.save_state(resume)
        kept = judged.steps  # type: ignore[union-attr]
        judged(99, accelerator.unwrap_model(painter).generate)  # type: ignore[misc]
        accelerator.load_state(resume)
        assert judged.steps == kept  # type: ignore[union-attr]
    return accelerator.unwrap_model(painter).level.detach()


class TestAccelerate:
    def test_a_training_goes_on_as_without_it(self, tmp_path: Path) -> None:
        judged = validation()
        level = accelerated_training(judged, everywhere=True, resume=tmp_path / "state")
        assert torch.equal(level, plain_training().level)
        assert judged.steps == [0, 2, 4]
        means = [figures.mean.value for figures in judged.curve().values()]
        assert means == sorted(means) and means[-1] > means[0] + 0.05

    def test_in_the_form_of_diffusers_training_scripts(self) -> None:
        """A LoRA on the denoiser of a pipeline, and a `log_validation` that makes the pipeline anew."""
        accelerate = pytest.importorskip("accelerate")
        from diffusers import StableDiffusionPipeline
        from peft import LoraConfig

        accelerator = accelerate.Accelerator(cpu=True)
        parts = tiny_scene_pipeline().components
        unet = parts["unet"]
        unet.requires_grad_(False)
        unet.add_adapter(
            LoraConfig(r=4, lora_alpha=4, init_lora_weights="gaussian", target_modules=["to_k", "to_v"])
        )
        weights = [weight for weight in unet.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=1e-2)
        unet, optimizer = accelerator.prepare(unet, optimizer)
        judged = UniSimValidation(["a red ball", "a tent"], {"image-text": "unisim-mini"}, seeds_per_prompt=1)

        def log_validation(step: int) -> Any:
            pipeline = StableDiffusionPipeline(
                **{**parts, "unet": accelerator.unwrap_model(unet)}, requires_safety_checker=False
            )
            return judged.run(pipeline, step, num_inference_steps=2)

        log_validation(0)
        unet.train()
        target = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        for _ in range(3):
            predicted = unet(target, 500, torch.ones(2, 3, parts["text_encoder"].config.hidden_size)).sample
            accelerator.backward((predicted - target).square().mean())
            optimizer.step()
            optimizer.zero_grad()
        result = log_validation(3)
        assert unet.training
        gain = result.figures["image-text"].gain
        assert gain is not None and gain.mean.value != 0
        assert [picture.prompt for picture in result.pictures] == ["a red ball", "a tent"]


def train_in_a_process(rank: int, port: int, share: bool, fails: bool, output: str) -> None:
    """One of two processes under the environment that `accelerate launch` sets."""
    set_launcher_environment(rank, port)
    os.environ["ACCELERATE_USE_CPU"] = "true"
    torch.set_num_threads(1)
    made: list[int] = []

    def judge(images: Tensor, prompts: list[str], metadata: list[dict[str, Any]]) -> Tensor:
        made.extend(sample["seed"] for sample in metadata)
        if fails and rank == 1:
            raise KeyError("mine")
        return brightness(images)

    judged = UniSimValidation(
        PROMPTS,
        {"brightness": judge},
        seeds_per_prompt=2,
        share=share,
        path=Path(output) / "history.jsonl" if share else None,
    )
    error, level = "", torch.zeros(())
    try:
        level = accelerated_training(judged, everywhere=share)
    except (KeyError, RuntimeError) as raised:
        error = repr(raised)
    found = {"state": judged.state_dict(), "level": level, "made": made, "error": error}
    torch.save(found, Path(output) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def two_processes(folder: Path, share: bool, fails: bool = False) -> list[dict[str, Any]]:
    run_in_two(train_in_a_process, share, fails, str(folder))
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def fit_in_a_process(rank: int, port: int, output: str) -> None:
    """One of two processes of Lightning's DDP, started from outside."""
    import lightning.pytorch as library

    from unisim_metrics.integrations.validation.lightning import UniSimValidationCallback

    os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    callback = UniSimValidationCallback(validation())
    module = lightning_module(library)
    trainer = library.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_epochs=1,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, batches())
    found = {
        "state": callback.state_dict(),
        "has result": callback.result is not None,
        "monitored": float(trainer.callback_metrics["validation/brightness/mean"]),
        "level": module.painter.level.detach(),
    }
    torch.save(found, Path(output) / f"{rank}.pt")


class TestTwoProcesses:
    @pytest.fixture(scope="class", autouse=True)
    def installed(self) -> None:
        pytest.importorskip("accelerate", reason="accelerate is not installed")

    @pytest.fixture(scope="class")
    def alone(self, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
        """What both found where the main process validates by itself."""
        return two_processes(tmp_path_factory.mktemp("alone"), share=False)

    def test_the_main_process_by_itself(self, alone: list[dict[str, Any]]) -> None:
        first, second = alone
        assert torch.equal(first["level"], second["level"])  # DDP goes on
        assert first["made"] == 2 * list(range(6))  # three steps of each process: two validations
        assert second["made"] == [] and second["state"]["validations"] == []

    def test_shared(self, alone: list[dict[str, Any]], tmp_path: Path) -> None:
        first, second = two_processes(tmp_path, share=True)
        assert first["made"] == 2 * [0, 2, 4] and second["made"] == 2 * [1, 3, 5]
        assert first["state"] == second["state"] == alone[0]["state"]
        assert torch.equal(first["level"], alone[0]["level"])
        resumed = UniSimValidation(
            PROMPTS, {"brightness": brightness}, seeds_per_prompt=2, path=tmp_path / "history.jsonl"
        )
        assert resumed.state_dict() == first["state"]

    def test_a_process_that_fails_leaves_none_waiting(self, tmp_path: Path) -> None:
        first, second = two_processes(tmp_path, share=True, fails=True)
        assert "Process 1 could not score its share of step 0" in first["error"]
        assert second["error"] == "KeyError('mine')"
        assert first["state"]["validations"] == second["state"]["validations"] == []

    def test_lightning_tells_the_others(self, tmp_path: Path) -> None:
        pytest.importorskip("lightning", reason="lightning is not installed")
        run_in_two(fit_in_a_process, str(tmp_path))
        first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
        assert first["state"] == second["state"]
        assert [record["step"] for record in first["state"]["validations"]] == [0, STEPS // 2]
        assert (first["has result"], second["has result"]) == (True, False)
        last = first["state"]["validations"][-1]["scores"]["brightness"]
        assert first["monitored"] == second["monitored"] == pytest.approx(sum(last) / len(last))
        assert torch.equal(first["level"], second["level"])
