"""The reward server under load: what is lost, what differs, its speed beside one batched call, and its memory.

    python -m docs.experiments.serving_load

Clients ask at the same time, one image a request, in the four forms of trainers in turn. One call of `PointwiseReward`
on the same images, decoding included, is timed before and after, since a shared machine changes its pace. In the end
the server is stopped under load. It reads memory from `/proc`, so it needs Linux.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

import httpx
import numpy as np
import torch
from PIL import Image

from unisim_metrics.images import decode_image
from unisim_metrics.integrations.rewards import PointwiseReward

MODEL = "unisim-mini"
SIDE = 256


def pictures(number: int) -> list[bytes]:
    """Draw JPEG images of soft colours, each another."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(number):
        small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        file = io.BytesIO()
        small.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, format="JPEG", quality=90)
        files.append(file.getvalue())
    return files


def ask_own(http: httpx.Client, image: bytes, prompt: str) -> tuple[int, float]:
    """Ask in the server's own form, which tells the reward of the image."""
    body = {"images": [base64.b64encode(image).decode()], "prompts": [prompt]}
    return _reward(http.post("/rewards", json=body), lambda answer: answer.json()["rewards"][0])


def ask_flow_factory(http: httpx.Client, image: bytes, prompt: str) -> tuple[int, float]:
    """Ask in Flow-Factory's form."""
    body = {"image": [base64.b64encode(image).decode()], "prompt": [prompt], "video": None}
    return _reward(http.post("/compute", json=body), lambda answer: answer.json()["rewards"][0])


def ask_unirl(http: httpx.Client, image: bytes, prompt: str) -> tuple[int, float]:
    """Ask in UniRL's form."""
    turn = {"text": prompt, "image_b64": base64.b64encode(image).decode()}
    body = {"requests": [{"history": [turn], "required_rewards": [MODEL]}]}
    return _reward(
        http.post("/score", json=body), lambda answer: answer.json()["results"][0][MODEL]["reward"]
    )


def ask_pickled(http: httpx.Client, image: bytes, prompt: str) -> tuple[int, float]:
    """Ask in the form of flow_grpo and verl-omni."""
    body = pickle.dumps({"images": [image], "prompts": [prompt], "metadata": {}})
    return _reward(http.post("/", content=body), lambda answer: pickle.loads(answer.content)["scores"][0])


def _reward(answer: httpx.Response, read: Callable[[httpx.Response], float]) -> tuple[int, float]:
    return answer.status_code, read(answer) if answer.is_success else float("nan")


FORMS = (ask_own, ask_flow_factory, ask_unirl, ask_pickled)


@dataclass
class Load:
    """Requests of many clients, and what came of them."""

    address: str
    images: list[bytes]
    prompts: list[str]
    rewards: list[float]
    answered: int = 0
    lost: int = 0
    largest_difference: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def run(self, clients: int, requests: int, watch: Callable[[int], None]) -> float:
        """Send requests from clients at once, and return the seconds; a client whose connection breaks stops."""
        places = count()
        start = time.perf_counter()

        def work(_: int) -> None:
            with httpx.Client(base_url=self.address, timeout=600, trust_env=False) as http:
                for place in iter(lambda: next(places), None):
                    if place >= requests:
                        return
                    which = place % len(self.images)
                    # Forms and images have no common divisor of their own: each image comes in each form.
                    form = FORMS[(place + place // len(self.images)) % len(FORMS)]
                    try:
                        status, reward = form(http, self.images[which], self.prompts[which])
                    except httpx.TransportError:
                        with self.lock:
                            self.lost += 1
                        return
                    watch(self._note(status, abs(reward - self.rewards[which])))

        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(work, range(clients)))
        return time.perf_counter() - start

    def _note(self, status: int, difference: float) -> int:
        with self.lock:
            self.answered += 1
            self.statuses[status] = self.statuses.get(status, 0) + 1
            self.largest_difference = max(self.largest_difference, difference)
            return self.answered


def start(threads: int) -> tuple[subprocess.Popen[str], str]:
    """Start the server on a free port, and return its process and address."""
    command = [sys.executable, "-m", "unisim_metrics", "serve", MODEL, "--port", "0", "--device", "cpu"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**_environment(), "OMP_NUM_THREADS": str(threads)}
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("Serving on"):
            return process, line.split()[-1]
    raise RuntimeError(f"The server ended with status {process.wait()} before it served.")


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "UNISIM_TOKEN"}


def memory(process: subprocess.Popen[str]) -> float:
    """The MiB that a process has in memory."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    (kilobytes,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
    return int(kilobytes) / 1024


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clients", type=int, default=64, help="how many ask at the same time")
    parser.add_argument("--requests", type=int, default=10_000, help="how often they ask")
    parser.add_argument("--images", type=int, default=500, help="how many images they ask about")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of torch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    images = pictures(arguments.images)
    prompts = [f"a picture of {place} soft colours" for place in range(len(images))]
    reward = PointwiseReward(MODEL)
    reward.model.to("cpu")

    def batched() -> tuple[float, list[float]]:
        start = time.perf_counter()
        rewards, _ = reward([decode_image(image) for image in images], prompts)
        return len(images) / (time.perf_counter() - start), rewards.tolist()

    reward([decode_image(images[0])], prompts[:1])
    before, rewards = batched()
    process, address = start(arguments.threads)
    load = Load(address, images, prompts, rewards)
    load.run(arguments.clients, 2 * arguments.clients, lambda _: None)  # caches and pools fill
    load.answered, load.statuses = 0, {}
    marks: dict[int, float] = {}

    def watch(answered: int) -> None:
        if answered in (arguments.requests // 10, arguments.requests // 2, arguments.requests):
            marks[answered] = memory(process)

    seconds = load.run(arguments.clients, arguments.requests, watch)
    after, _ = batched()
    served, called = arguments.requests / seconds, 2 / (1 / before + 1 / after)

    stopped = Load(address, images, prompts, rewards)

    def stop(answered: int) -> None:
        if answered == 2 * arguments.clients:
            process.send_signal(signal.SIGTERM)

    stopped.run(arguments.clients, 10**9, stop)
    assert process.stderr is not None
    (last,) = [line for line in process.stderr if line.startswith("Stopped")]
    sizes = [f"{marks[place]:.0f} MiB" for place in sorted(marks)]
    _print(
        {
            "clients, requests, images": f"{arguments.clients}, {arguments.requests}, {len(images)}",
            "answered; with another status than 200; lost": f"{load.answered};"
            f" {load.answered - load.statuses.get(200, 0)}; {load.lost}",
            "largest difference from `PointwiseReward`": f"{load.largest_difference:.1e}",
            "images a second, server": f"{served:.1f}",
            "images a second, one batched call (before, after)": f"{called:.1f} ({before:.1f}, {after:.1f})",
            "server / batched call": f"{served / called:.2f}",
            "memory after a tenth, a half, all": ", ".join(sizes),
            "SIGTERM under load": f"{last.strip().removeprefix('Stopped: ').rstrip('.')}; exit status {process.wait()}",
            "largest difference among the last": f"{stopped.largest_difference:.1e}",
        }
    )


def _print(rows: dict[str, Any]) -> None:
    print("| what | found |\n| --- | --- |")
    for name, value in rows.items():
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
