"""What the tests of the reward server share: pictures, requests in each form, and a running server."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
from PIL import Image

from unisim_metrics.integrations.rewards import PointwiseReward
from unisim_metrics.integrations.serving.app import create_app
from unisim_metrics.integrations.serving.guard import Guard
from unisim_metrics.integrations.serving.limits import Limits
from unisim_metrics.integrations.serving.service import RewardService

PROMPTS = ["a cat", "a dog on grass", "two boats", "a red square"]
STARTING = 300
AS_JSON = {"Content-Type": "application/json"}


def picture(seed: int, size: tuple[int, int] = (40, 36)) -> Image.Image:
    """A picture with structure, so that scores differ."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def encoded(seed: int, form: str = "PNG", size: tuple[int, int] = (40, 36)) -> bytes:
    file = io.BytesIO()
    picture(seed, size).save(file, format=form)
    return file.getvalue()


def text_of(image: bytes) -> str:
    return base64.b64encode(image).decode()


def own_form(images: list[bytes], prompts: list[str], **more: Any) -> dict[str, Any]:
    return {"images": [text_of(image) for image in images], "prompts": prompts, **more}


def flow_factory_form(images: list[bytes], prompts: list[str], **more: Any) -> dict[str, Any]:
    """What `_build_payload` of Flow-Factory's my_reward_remote.py builds."""
    return {
        "prompt": prompts,
        "image": [text_of(image) for image in images],
        "video": None,
        "condition_images": None,
        "condition_videos": None,
        **more,
    }


def unirl_form(images: list[bytes], prompts: list[str], rewards: list[str]) -> dict[str, Any]:
    """What `RewardClient.score` of UniRL's reward service sends."""
    return {
        "requests": [
            {
                "history": [{"text": prompt, "image_b64": text_of(image)}],
                "required_rewards": rewards,
                "metadata": None,
            }
            for image, prompt in zip(images, prompts, strict=True)
        ]
    }


def pickled_form(images: list[bytes], prompts: list[str]) -> bytes:
    """What verl-omni's http_scorer_client.py sends."""
    return pickle.dumps({"images": images, "prompts": prompts, "metadata": {}})


def make_app(rewards: dict[str, PointwiseReward], token: str | None = None, **limits: Any) -> Guard:
    return create_app(RewardService(rewards, Limits(**limits), batch_size=8, wait=0.05), token)


def send(app: Guard, *requests: tuple[str, Any], **settings: Any) -> list[httpx.Response]:
    """The answers to requests that are sent at the same time: JSON, or bytes as they are."""

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://server", timeout=300) as client:
            return list(
                await asyncio.gather(
                    *(
                        client.post(
                            path, content=body, **{"headers": AS_JSON if path != "/" else {}, **settings}
                        )
                        if isinstance(body, bytes)
                        else client.post(path, json=body, **settings)
                        for path, body in requests
                    )
                )
            )

    return asyncio.run(ask())


def get(app: Guard, path: str, **settings: Any) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            return await client.get(path, **settings)

    return asyncio.run(ask())


@contextmanager
def running(
    *options: str, token: str | None = None
) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """A server of its own process: the process, its address, and the lines that it tells."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    environment.pop("UNISIM_TOKEN", None)
    if token is not None:
        environment["UNISIM_TOKEN"] = token
    process = subprocess.Popen(
        [sys.executable, "-m", "unisim_metrics", "serve", "--port", "0", *options],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    lines: list[str] = []

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line.rstrip("\n"))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        deadline = time.monotonic() + STARTING
        address = None
        while address is None:
            address = next((line.split()[-1] for line in lines if line.startswith("Serving on")), None)
            assert process.poll() is None and time.monotonic() < deadline, lines
            time.sleep(0.1)
        yield process, address, lines
    finally:
        process.kill()
        process.wait()
        reader.join()
