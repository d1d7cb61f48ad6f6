"""How much a server takes, at once and in one request."""

from __future__ import annotations

from dataclasses import dataclass, fields

TOKEN_VARIABLE = "UNISIM_TOKEN"
"""The environment variable with the token that server and client share."""


@dataclass(frozen=True)
class Limits:
    """What a request, and all requests together, may ask for.

    Attributes:
        body_bytes: The most bytes of a body.
        body_seconds: How long a body may take to arrive.
        images: The most images of a request.
        pixels: The most pixels of an image, height times width.
        text_characters: The most characters of a prompt.
        waiting_images: The most images that wait for their scores, of all requests.
        waiting_bytes: The most bytes of bodies that are held, of all requests.

    Raises:
        ValueError: If one is not positive, or a body of the most bytes could never be held.
    """

    body_bytes: int = 64 * 2**20
    body_seconds: float = 60.0
    images: int = 1024
    pixels: int = 4096 * 4096
    text_characters: int = 20_000
    waiting_images: int = 4096
    waiting_bytes: int = 512 * 2**20

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value <= 0:
                raise ValueError(f"Argument `{field.name}` must be positive, but got {value}.")
        for whole, part in (("waiting_bytes", "body_bytes"), ("waiting_images", "images")):
            if getattr(self, whole) < getattr(self, part):
                raise ValueError(
                    f"Argument `{whole}` must be at least `{part}`, {getattr(self, part)}, but got"
                    f" {getattr(self, whole)}: such a request would never be taken."
                )
