"""The forms of JSON: this server's own, Flow-Factory's and UniRL's."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_IMAGE = "An encoded image (PNG, JPEG, WebP) in base64."


class _Request(BaseModel):
    """What a client sends: a key that is not known is an error, not a wish that is lost."""

    model_config = ConfigDict(extra="forbid", strict=True)


class RewardsRequest(_Request):
    """N images to reward."""

    images: list[str] = Field(description=f"N times: {_IMAGE}")
    prompts: list[str] | None = Field(None, description="N texts, for tasks that look at them.")
    references: list[str] | None = Field(None, description=f"N times, for image-image: {_IMAGE}")
    reward: str | None = Field(None, description="The name of a reward; the server's first if left out.")


class RewardsResponse(BaseModel):
    """N rewards, and what they are made of."""

    reward: str = Field(description="The name of the reward.")
    rewards: list[float] = Field(description="N rewards; higher is better.")
    scores: dict[str, list[float]] = Field(description="N scores of each task, not weighted.")
    signatures: dict[str, str] = Field(description="What makes the scores of each task.")


class GroupsRequest(_Request):
    """B groups of candidates that compete."""

    candidates: list[list[str]] = Field(
        description=f"B groups, each at least twice: {_IMAGE} Texts for a reward that compares those, such as captions."
    )
    prompts: list[str] | None = Field(None, description="B texts, for tasks that look at them.")
    references: list[str] | None = Field(None, description=f"B times, for image-image and caption: {_IMAGE}")
    reward: str | None = Field(None, description="The name of a reward; the server's first if left out.")


class GroupsResponse(BaseModel):
    """The rewards of B groups, and what they are made of."""

    reward: str = Field(description="The name of the reward.")
    rewards: list[list[float]] = Field(
        description="For each candidate the share of the others in its group that it beats, weighted over tasks."
    )
    scores: dict[str, list[list[float]]] = Field(description="The scores of each task, not weighted.")
    signatures: dict[str, str] = Field(description="What makes the scores of each task.")


class ComputeRequest(_Request):
    """Flow-Factory's request."""

    prompt: list[str] | None = None
    image: list[str] | None = Field(None, description=f"N times: {_IMAGE}")
    condition_images: list[list[str]] | None = Field(
        None, description="For each image those that it was edited from; the first is its reference."
    )
    video: list[list[str]] | None = Field(None, description="Refused: no reward here scores videos.")
    condition_videos: list[list[list[str]]] | None = Field(None, description="Not looked at.")


class ComputeResponse(BaseModel):
    """Flow-Factory's answer."""

    rewards: list[float]


class HistoryTurn(_Request):
    """A text and its image, of UniRL."""

    text: str
    image_b64: str | None = Field(None, description=_IMAGE)
    video_b64: str | None = Field(None, description="Refused: no reward here scores videos.")
    video_path: str | None = Field(None, description="Refused: no file of the server is read.")


class HistoryRequest(_Request):
    """One image, after the one that it was edited from if there is one, and the rewards that it is to get."""

    history: list[HistoryTurn] = Field(description="The last turn is scored; the first is its reference.")
    required_rewards: list[str]
    metadata: dict[str, Any] | None = None


class ScoreRequest(_Request):
    """UniRL's request."""

    requests: list[HistoryRequest]


class ScoreResponse(BaseModel):
    """UniRL's answer: for each request rewards, and why there is none, by name."""

    results: list[dict[str, dict[str, float]]]
    errors: list[dict[str, str]]


class HealthResponse(BaseModel):
    """That the server answers, and for what."""

    status: str
    version: str
    rewards: dict[str, list[str]]
    groups: list[str]


class RewardNames(BaseModel):
    """The names of the rewards."""

    rewards: list[str]


class SignaturesResponse(BaseModel):
    """What makes the scores, by reward and task."""

    signatures: dict[str, dict[str, str]]


class ErrorResponse(BaseModel):
    """Why a request failed."""

    error: str
