"""The reward server under load: what is lost, what differs, its speed beside one batched call, and its memory.

    python -m docs.experiments.speed.serving

Clients ask at the same time, one image a request, in the four forms of trainers in turn. It goes by rounds, as a shared
machine changes its pace: in each, one call of `PointwiseReward` on the round's images, decoding included, is timed
before the server is asked about them. In the end the server is stopped under load. It reads memory from `/proc`, so it
needs Linux.
"""

from __future__ import annotations

import argparse
import base64
import os
import pickle
import re
import signal
import statistics
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
import torch

from unisim_metrics.images import decode_image
from unisim_metrics.integrations.rewards import PointwiseReward

from ..soft_colours import draw_jpegs

MODEL = "unisim-mini"
SIDE = 256


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

    def add(self, other: Load) -> None:
        """Count what came of another load with one's own."""
        self.answered += other.answered
        self.lost += other.lost
        self.largest_difference = max(self.largest_difference, other.largest_difference)
        for status, number in other.statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + number

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
    parser.add_argument("--rounds", type=int, default=10, help="into how many parts images and requests fall")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of torch")
    arguments = parser.parse_args()
    if arguments.images % arguments.rounds or arguments.requests % arguments.rounds:
        parser.error("--images and --requests must be multiples of --rounds")
    torch.set_num_threads(arguments.threads)
    images = draw_jpegs(arguments.images, (SIDE, SIDE), quality=90)
    prompts = [f"a picture of {place} soft colours" for place in range(len(images))]
    reward = PointwiseReward(MODEL)
    reward.model.to("cpu")
    reward([decode_image(images[0])], prompts[:1])
    process, address = start(arguments.threads)
    load = Load(address, images, prompts, [float("nan")] * len(images))
    load.run(arguments.clients, 2 * arguments.clients, lambda _: None)  # caches and pools fill
    total = Load(address, images, prompts, [])
    rounds: list[tuple[float, float]] = []
    marks = {0: memory(process)}
    size, asked = len(images) // arguments.rounds, arguments.requests // arguments.rounds
    for place in range(0, size * arguments.rounds, size):
        own = slice(place, place + size)
        start_of_call = time.perf_counter()
        rewards, _ = reward([decode_image(image) for image in images[own]], prompts[own])
        called = size / (time.perf_counter() - start_of_call)
        load = Load(address, images[own], prompts[own], rewards.tolist())
        rounds.append((asked / load.run(arguments.clients, asked, lambda _: None), called))
        total.add(load)
        marks[total.answered] = memory(process)
    served, called = (statistics.harmonic_mean(speeds) for speeds in zip(*rounds, strict=True))
    ratios = [one / other for one, other in rounds]

    stopped = Load(address, load.images, load.prompts, load.rewards)

    def stop(answered: int) -> None:
        if answered == 2 * arguments.clients:
            process.send_signal(signal.SIGTERM)

    stopped.run(arguments.clients, 10**9, stop)
    assert process.stderr is not None
    (last,) = [line for line in process.stderr if line.startswith("Stopped")]
    numbers = sorted(marks)
    shown = [numbers[0], numbers[1], numbers[len(numbers) // 2], numbers[-1]]
    sizes = ", ".join(f"{marks[number]:.0f} MiB" for number in shown)
    _print(
        {
            "clients, requests, images, rounds": f"{arguments.clients}, {asked * arguments.rounds}, {len(images)},"
            f" {arguments.rounds}",
            "answered; with another status than 200; lost": f"{total.answered};"
            f" {total.answered - total.statuses.get(200, 0)}; {total.lost}",
            "largest difference from `PointwiseReward`": f"{total.largest_difference:.1e}",
            "images a second, server": f"{served:.1f}",
            "images a second, one batched call": f"{called:.1f}",
            "server / batched call": f"{served / called:.2f}",
            "of single rounds, lowest, median, highest": f"{min(ratios):.2f}, {statistics.median(ratios):.2f},"
            f" {max(ratios):.2f}",
            f"memory after {', '.join(map(str, shown))} requests": sizes,
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
