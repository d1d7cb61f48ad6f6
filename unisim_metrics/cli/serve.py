"""`unisim serve`: rewards over a port, for trainers in other environments."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from unisim_metrics.cli import completion
from unisim_metrics.cli import options as opt
from unisim_metrics.cli.terminal import print_note
from unisim_metrics.installation import install_extra

_NEEDED = ("fastapi", "uvicorn", "prometheus_client", "httpx")
_LIMITS = "Limits"


def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]MODEL...",
            help="Models, each by its name (see `unisim models`), or by one of your own: mine=./runs/mine.",
            autocompletion=completion.models,
        ),
    ] = None,
    rewards: Annotated[
        Path | None,
        typer.Option(
            "--rewards",
            help="A TOML file with a table [rewards.NAME] for each reward: model, tasks, weights.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen at; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for any that is free.")] = 8000,
    device: opt.DeviceOption = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Images that are encoded together.", rich_help_panel="Scoring")
    ] = 32,
    wait: Annotated[
        float,
        typer.Option(
            min=0.0, help="For how many milliseconds a batch that is not full waits for more images."
        ),
    ] = 10.0,
    grace: Annotated[
        float, typer.Option(min=1.0, help="For how many seconds it goes on answering when it is stopped.")
    ] = 60.0,
    max_body: Annotated[
        int, typer.Option(min=1, help="The most MiB of a request.", rich_help_panel=_LIMITS)
    ] = 64,
    max_images: Annotated[
        int, typer.Option(min=1, help="The most images of a request.", rich_help_panel=_LIMITS)
    ] = 1024,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="The most pixels of an image.", rich_help_panel=_LIMITS)
    ] = 4096 * 4096,
    max_waiting: Annotated[
        int, typer.Option(min=1, help="The most images that wait, of all requests.", rich_help_panel=_LIMITS)
    ] = 4096,
    max_held: Annotated[
        int, typer.Option(min=1, help="The most MiB of requests that are held.", rich_help_panel=_LIMITS)
    ] = 512,
) -> None:
    """Serve rewards to trainers: Flow-Factory, UniRL, flow_grpo, verl-omni, and JSON of its own.

    It needs the extra `serve`. The environment variable UNISIM_TOKEN holds the token that clients have to send, if
    there is one. SIGTERM or Ctrl-C ends it; what was taken is answered first.

    [bold]unisim serve unisim-vit-l-14 pickscore --port 8000[/]  ·  [bold]unisim serve --rewards rewards.toml[/]
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(f"`unisim serve` needs {', '.join(missing)}: {install_extra('serve')}.")
    from unisim_metrics.integrations.serving.app import create_app
    from unisim_metrics.integrations.serving.configuration import read_rewards
    from unisim_metrics.integrations.serving.groups import GroupReward, groups_of_models
    from unisim_metrics.integrations.serving.limits import TOKEN_VARIABLE, Limits
    from unisim_metrics.integrations.serving.server import listen, run
    from unisim_metrics.integrations.serving.service import RewardService, rewards_of_models
    from unisim_metrics.models.kept import as_model

    limits = Limits(
        body_bytes=max_body * 2**20,
        images=max_images,
        pixels=max_pixels,
        waiting_images=max_waiting,
        waiting_bytes=max_held * 2**20,
    )
    # The port first: who cannot have it need not wait for the models.
    with listen(host, port) as opened:
        served = {} if rewards is None else read_rewards(rewards, device)
        named = dict(_named(model) for model in models or ([] if served else [opt.DEFAULT_MODEL]))
        both = sorted(set(served).intersection(named))
        if both:
            raise ValueError(f"Each reward must have a name of its own, but {both[0]!r} is that of two.")
        loaded = {name: as_model(source) for name, source in named.items()}
        served.update(rewards_of_models(loaded, device))
        groups = {name: GroupReward.of(reward) for name, reward in served.items()} | groups_of_models(loaded)
        token = os.environ.get(TOKEN_VARIABLE) or None
        if token is None and host not in ("127.0.0.1", "::1", "localhost"):
            print_note(f"Note: {TOKEN_VARIABLE} is not set, so all who reach {host} can ask for rewards.")
        service = RewardService(served, limits, batch_size=batch_size, wait=wait / 1000, groups=groups)
        print_note(f"Rewards: {', '.join(service.names) or 'none'}")
        print_note(f"Rewards of groups: {', '.join(service.group_names)}")
        run(create_app(service, token), opened, grace=grace, tell=print_note)


def _named(model: str) -> tuple[str, str]:
    name, sign, source = model.partition("=")
    if sign and name and source:
        return name, source
    return model, model
