"""Results of a validation in experiment trackers: curves, and pictures with their prompts and scores.

TensorBoard, Weights & Biases, MLflow and trackio, by Accelerate's trackers, Lightning's loggers or their own runs. None
of them is imported before there is one to log to.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from .results import Picture, ValidationResult

_LONGEST = 500  # characters of a prompt
# What MLflow takes for the names of metrics and images alike.
_NOT_IN_NAMES = re.compile(r"[^\w\-./ ]", re.ASCII)


def log_validation(tracker: Any, result: ValidationResult, prefix: str = "validation") -> None:
    r"""Log what a validation found.

    Curves are `PREFIX/JUDGE/mean`, `…/change` and `…/gain`, each with its ends `_low` and `_high`. The pictures stand
    under `PREFIX/pictures`, with scores, seed and prompt as their captions: in TensorBoard as the text
    `PREFIX/captions`, in MLflow as the artifact `PREFIX/captions/STEP.json`, as neither has captions. Other trackers of
    Accelerate and loggers of Lightning get the curves alone. A prompt is shown as text, whatever it holds: on one line,
    and what cannot be seen as its escape (`\u202e`).

    In a distributed run the main process logs, and the others do nothing.

    Args:
        tracker: An `Accelerator`, one of its trackers, a logger of Lightning, a `SummaryWriter` of TensorBoard, a run
            of W&B, MLflow or trackio, or a list of these.
        result: What the validation returned.
        prefix: What all names begin with.

    Raises:
        TypeError: If it is none of these.
    """
    if isinstance(tracker, list | tuple):
        for one in tracker:
            log_validation(one, result, prefix)
        return
    kinds = _kinds(tracker)
    if "accelerate.Accelerator" in kinds:
        if tracker.is_main_process:
            log_validation(tracker.trackers, result, prefix)
    elif "accelerate.GeneralTracker" in kinds:
        _log_to_accelerate(tracker, result, prefix)
    elif kinds & {"lightning.Logger", "pytorch_lightning.Logger", "lightning_fabric.Logger"}:
        _log_to_lightning(tracker, result, prefix)
    else:
        log = _log_of(kinds)
        if log is None:
            raise TypeError(
                "Argument `tracker` must be an Accelerator, a tracker of Accelerate, a logger of Lightning, or a run"
                " of TensorBoard, W&B, MLflow or trackio, but got"
                f" {type(tracker).__module__}.{type(tracker).__qualname__}."
            )
        log(tracker, result, prefix)


def _kinds(thing: object) -> set[str]:
    """The classes of an object by their library and name: to tell them, no library has to be imported."""
    return {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(thing).__mro__}


def _log_of(kinds: set[str]) -> Callable[[Any, ValidationResult, str], None] | None:
    """What logs to an object of a tracker's own."""
    logs = {
        "torch.SummaryWriter": _log_to_tensorboard,
        "tensorboardX.SummaryWriter": _log_to_tensorboard,
        "wandb.Run": _log_to_wandb,
        "mlflow.Run": _log_to_mlflow,
        "trackio.Run": _log_to_trackio,
    }
    return next((logs[kind] for kind in sorted(kinds & logs.keys())), None)


def _log_to_accelerate(tracker: Any, result: ValidationResult, prefix: str) -> None:
    from accelerate import PartialState

    # On other processes a tracker has no run, whatever it says of itself.
    if not PartialState().is_main_process:
        return
    run = tracker.tracker
    log = _log_of(_kinds(run))
    if log is None:
        tracker.log(result.scalars(prefix), step=result.step)
    else:
        log(run, result, prefix)


def _log_to_lightning(logger: Any, result: ValidationResult, prefix: str) -> None:
    run: Any = getattr(logger, "experiment", None)
    kinds = _kinds(run)
    log = _log_of(kinds)
    if "mlflow.MlflowClient" in kinds:
        _log_to_mlflow_client(run, logger.run_id, result, prefix)
    elif log is _log_to_wandb:
        # Lightning's steps of W&B are calls: the step of the training is a value of its own.
        run.log({**_wandb_values(result, prefix), "trainer/global_step": result.step})
    elif log is not None:
        log(run, result, prefix)
    else:
        logger.log_metrics(result.scalars(prefix), step=result.step)


def _log_to_tensorboard(writer: Any, result: ValidationResult, prefix: str) -> None:
    for name, value in result.scalars(prefix).items():
        writer.add_scalar(name, value, result.step)
    for number, picture in enumerate(result.pictures):
        pixels = np.asarray(picture.image)
        writer.add_image(f"{prefix}/pictures/{number:02}", pixels, result.step, dataformats="HWC")
    if result.pictures:
        # Markdown shows what is indented as it stands.
        lines = [f"    {number:02}  {caption(picture)}" for number, picture in enumerate(result.pictures)]
        writer.add_text(f"{prefix}/captions", "\n".join(lines), result.step)
    writer.flush()


def _log_to_wandb(run: Any, result: ValidationResult, prefix: str) -> None:
    run.log(_wandb_values(result, prefix), step=result.step)


def _wandb_values(result: ValidationResult, prefix: str) -> dict[str, Any]:
    import wandb

    values: dict[str, Any] = dict(result.scalars(prefix))
    if result.pictures:
        values[f"{prefix}/pictures"] = [
            wandb.Image(picture.image, caption=caption(picture)) for picture in result.pictures
        ]
    return values


def _log_to_trackio(run: Any, result: ValidationResult, prefix: str) -> None:
    import trackio

    pictures = {
        f"{prefix}/pictures/{number:02}": trackio.Image(picture.image, caption=caption(picture))
        for number, picture in enumerate(result.pictures)
    }
    run.log({**result.scalars(prefix), **pictures}, step=result.step)


def _log_to_mlflow(run: Any, result: ValidationResult, prefix: str) -> None:
    from mlflow import MlflowClient

    _log_to_mlflow_client(MlflowClient(), run.info.run_id, result, prefix)


def _log_to_mlflow_client(client: Any, run_id: str, result: ValidationResult, prefix: str) -> None:
    for name, value in result.scalars(prefix).items():
        client.log_metric(run_id, _NOT_IN_NAMES.sub("_", name), value, step=result.step)
    for number, picture in enumerate(result.pictures):
        key = _NOT_IN_NAMES.sub("_", f"{prefix}/pictures/{number:02}")
        client.log_image(run_id, picture.image, key=key, step=result.step)
    if result.pictures:
        captions = [caption(picture) for picture in result.pictures]
        client.log_dict(run_id, captions, f"{prefix}/captions/{result.step:08}.json")


def caption(picture: Picture) -> str:
    """Return the caption of a picture: its scores, its seed and its prompt, on one line.

    Args:
        picture: The picture.
    """
    scores = ", ".join(f"{visible(name)} {score:.4f}" for name, score in picture.scores.items())
    prompt = picture.prompt if len(picture.prompt) <= _LONGEST else f"{picture.prompt[: _LONGEST - 1]}…"
    return f"{scores} | seed {picture.seed} | {visible(prompt)}"


def visible(text: str) -> str:
    r"""Return a text with the escapes of what cannot be seen: control characters, line breaks, marks of direction.

    Args:
        text: Any text, such as `"a fox\n"`, which becomes `"a fox\\n"`.
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )
