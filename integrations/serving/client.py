"""A client of the reward server, which asks again where that helps."""

from __future__ import annotations

import base64
import io
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import httpx
from PIL import Image

from .limits import TOKEN_VARIABLE

EncodedOrImage: TypeAlias = bytes | str | os.PathLike[str] | Image.Image
"""An encoded image, the path of one, or a Pillow image, which is sent as PNG."""

_AGAIN = (408, 429, 502, 503, 504)
_LONGEST_PAUSE = 30.0


class ServerError(RuntimeError):
    """The server did not reward: its message, and its status in `status` (None if it could not be reached)."""

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Rewards:
    """N rewards.

    Attributes:
        rewards: The rewards; higher is better.
        scores: The scores of each task, not weighted.
        signatures: What makes the scores of each task.
    """

    rewards: list[float]
    scores: dict[str, list[float]]
    signatures: dict[str, str]


@dataclass(frozen=True)
class GroupRewards:
    """The rewards of B groups.

    Attributes:
        rewards: For each candidate the share of the others in its group that it beats, weighted over tasks.
        scores: The scores of each task, not weighted.
        signatures: What makes the scores of each task.
    """

    rewards: list[list[float]]
    scores: dict[str, list[list[float]]]
    signatures: dict[str, str]


class UniSimClient:
    """Asks a server of `unisim serve` for rewards; threads may share it.

    Where the server is busy (429, 503), a body was late (408), or the connection fails, it asks again, after pauses
    that double; a server's `Retry-After` is kept to.

    Args:
        url: The server's address, `http://HOST:PORT`.
        token: The server's token; the environment variable `UNISIM_TOKEN` if None.
        timeout: For how many seconds an answer is waited for.
        retries: How often it asks again.
        pause: Seconds before it asks again for the first time.

    Raises:
        ValueError: If `retries` or `pause` is negative, or `timeout` not positive.

    Examples:
        ```python
        with UniSimClient("http://127.0.0.1:8000") as client:
            client.score(["a.png", "b.png"], ["a cat", "a dog"]).rewards
        ```
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = 120.0,
        retries: int = 5,
        pause: float = 0.5,
    ) -> None:
        if retries < 0:
            raise ValueError(f"Argument `retries` must be at least 0, but got {retries}.")
        if pause < 0:
            raise ValueError(f"Argument `pause` must be seconds, at least 0, but got {pause}.")
        if timeout <= 0:
            raise ValueError(f"Argument `timeout` must be seconds, more than 0, but got {timeout}.")
        token = os.environ.get(TOKEN_VARIABLE) if token is None else token
        self._retries = retries
        self._pause = pause
        self._http = httpx.Client(
            base_url=url,
            headers={b"Authorization": f"Bearer {token}".encode()} if token else {},
            timeout=timeout,
            # A proxy of the environment knows no server of the own network.
            trust_env=False,
        )

    def __enter__(self) -> UniSimClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def score(
        self,
        images: Sequence[EncodedOrImage],
        prompts: Sequence[str] | None = None,
        references: Sequence[EncodedOrImage] | None = None,
        *,
        reward: str | None = None,
    ) -> Rewards:
        """Return the rewards of N images.

        Args:
            images: N images.
            prompts: N texts, for tasks that look at them.
            references: N images, for `image-image`.
            reward: The name of a reward; the server's first if None.

        Raises:
            ServerError: If the server refuses or cannot be reached.
            OSError: If a file cannot be read.
        """
        answer = self._ask(
            "POST", "/rewards", _body("images", _all_encoded(images), prompts, references, reward)
        )
        return Rewards(answer["rewards"], answer["scores"], answer["signatures"])

    def score_groups(
        self,
        candidates: Sequence[Sequence[EncodedOrImage]],
        prompts: Sequence[str] | None = None,
        references: Sequence[EncodedOrImage] | None = None,
        *,
        reward: str | None = None,
    ) -> GroupRewards:
        """Return the rewards of the images of B groups, which compete.

        Args:
            candidates: B groups of at least two images.
            prompts: B texts, for tasks that look at them.
            references: B images, for `image-image`.
            reward: The name of a reward; the server's first if None.

        Raises:
            ServerError: If the server refuses or cannot be reached.
            OSError: If a file cannot be read.
        """
        groups = [_all_encoded(images) for images in candidates]
        return self._ask_groups(_body("candidates", groups, prompts, references, reward))

    def score_captions(
        self, captions: Sequence[Sequence[str]], images: Sequence[EncodedOrImage], *, reward: str
    ) -> GroupRewards:
        """Return the rewards of the captions of B images, which compete.

        Args:
            captions: B groups of at least two texts.
            images: B images.
            reward: The name of a reward of captions, such as `unisim-vit-l-14/caption`.

        Raises:
            ServerError: If the server refuses or cannot be reached.
            OSError: If a file cannot be read.
        """
        return self._ask_groups(
            _body("candidates", [list(texts) for texts in captions], None, images, reward)
        )

    def _ask_groups(self, body: dict[str, Any]) -> GroupRewards:
        answer = self._ask("POST", "/groups", body)
        return GroupRewards(answer["rewards"], answer["scores"], answer["signatures"])

    def rewards(self) -> list[str]:
        """Return the names of the server's rewards.

        Raises:
            ServerError: If the server refuses or cannot be reached.
        """
        names: list[str] = self._ask("GET", "/rewards")["rewards"]
        return names

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        for asked in range(self._retries + 1):
            pause = min(self._pause * 2**asked, _LONGEST_PAUSE) * random.uniform(0.5, 1)
            try:
                response = self._http.request(method, path, json=body)
            except httpx.TransportError as error:
                failed = ServerError(f"{self._http.base_url} could not be asked: {error!r}.", None)
            else:
                if response.is_success:
                    answer: dict[str, Any] = response.json()
                    return answer
                failed = ServerError(
                    f"{self._http.base_url} answered {response.status_code}: {_message(response)}",
                    response.status_code,
                )
                if response.status_code not in _AGAIN:
                    raise failed
                named = response.headers.get("retry-after", "")
                pause = max(pause, min(float(named), _LONGEST_PAUSE)) if named.isdecimal() else pause
            if asked == self._retries:
                raise failed
            time.sleep(pause)
        raise AssertionError("the last round returns or raises")


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, LookupError, TypeError):
        return response.text[:500]


def _body(
    name: str,
    candidates: list[Any],
    prompts: Sequence[str] | None,
    references: Sequence[EncodedOrImage] | None,
    reward: str | None,
) -> dict[str, Any]:
    body: dict[str, Any] = {name: candidates}
    if prompts is not None:
        body["prompts"] = list(prompts)
    if references is not None:
        body["references"] = _all_encoded(references)
    if reward is not None:
        body["reward"] = reward
    return body


def _all_encoded(images: Sequence[EncodedOrImage]) -> list[str]:
    return [_encoded(image) for image in images]


def _encoded(image: EncodedOrImage) -> str:
    if isinstance(image, Image.Image):
        file = io.BytesIO()
        image.save(file, format="PNG")
        content = file.getvalue()
    else:
        content = image if isinstance(image, bytes) else Path(image).read_bytes()
    return base64.b64encode(content).decode("ascii")
