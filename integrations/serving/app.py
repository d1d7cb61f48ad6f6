"""The routes: each form of request becomes samples, and their answers become that form's."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Sequence
from typing import TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from unisim_metrics.version import __version__

from .failures import RequestError, failure, pickled
from .groups import Group, GroupScore
from .guard import Guard
from .pickles import read_request
from .schemas import (
    ComputeRequest,
    ComputeResponse,
    ErrorResponse,
    GroupsRequest,
    GroupsResponse,
    HealthResponse,
    HistoryRequest,
    RewardNames,
    RewardsRequest,
    RewardsResponse,
    ScoreRequest,
    ScoreResponse,
    SignaturesResponse,
)
from .service import RewardService, Sample, Score

# In a path, since some clients can be given no more than an address.
_NAMED = "/rewards/{name:path}"
_NAMED_GROUPS = "/groups/{name:path}"

Value = TypeVar("Value")
Scored = TypeVar("Scored", Score, GroupScore)


def create_app(service: RewardService, token: str | None = None) -> Guard:
    """Make the ASGI application of a service.

    Args:
        service: What answers.
        token: What clients have to know; None lets all in.
    """
    app = FastAPI(
        title="UniSim rewards",
        description="Rewards for reinforcement learning, in the forms that trainers send.",
        version=__version__,
        responses={422: {"model": ErrorResponse}},
    )
    _add_failures(app)
    _add_facts(app, service)
    _add_own(app, service)
    _add_groups(app, service)
    _add_flow_factory(app, service)
    _add_unirl(app, service)
    _add_pickled(app, service)
    return Guard(app, service.limits, service.measures, token)


def _add_failures(app: FastAPI) -> None:
    @app.exception_handler(RequestError)
    async def refuse(request: Request, error: RequestError) -> Response:
        return failure(request.url.path, error.status, error.message)

    @app.exception_handler(RequestValidationError)
    async def refuse_form(request: Request, error: RequestValidationError) -> Response:
        # The wrong input itself is left out: it may be as large as the body.
        wrong = [
            f"`{'.'.join(str(part) for part in one['loc'][1:]) or 'body'}`: {one['msg']}"
            for one in error.errors()[:5]
        ]
        return failure(
            request.url.path, 422, f"The body must be of the form of {request.url.path}: {'; '.join(wrong)}."
        )

    @app.exception_handler(HTTPException)
    async def refuse_path(request: Request, error: HTTPException) -> Response:
        return failure(request.url.path, error.status_code, str(error.detail))

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> Response:
        return failure(request.url.path, 500, f"{type(error).__name__}: {error!s:.500}")


def _add_facts(app: FastAPI, service: RewardService) -> None:
    @app.get("/health", tags=["server"])
    async def health() -> HealthResponse:
        """Tell that the server answers."""
        return _health(service.names, service.group_names)

    @app.get(f"{_NAMED}/health", tags=["server"])
    async def health_of(name: str) -> HealthResponse:
        """Tell that the server answers for a reward."""
        return _health([service.find(name)], [])

    @app.get(f"{_NAMED_GROUPS}/health", tags=["server"])
    async def health_of_groups(name: str) -> HealthResponse:
        """Tell that the server answers for a groups' reward."""
        return _health([], [service.find_group(name)])

    @app.get("/rewards", tags=["server", "UniRL"])
    async def names() -> RewardNames:
        """List the rewards."""
        return RewardNames(rewards=service.names)

    @app.get("/groups", tags=["server"])
    async def group_names() -> RewardNames:
        """List the groups' rewards."""
        return RewardNames(rewards=service.group_names)

    @app.get("/signature", tags=["server"])
    async def signature(reward: str | None = None) -> SignaturesResponse:
        """Tell what makes the scores, of one reward or of all."""
        names = service.names if reward is None else [service.find(reward)]
        return SignaturesResponse(signatures={name: service.signatures(name) for name in names})

    @app.get("/metrics", tags=["server"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Tell the server's figures to Prometheus."""
        return Response(service.measures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_own(app: FastAPI, service: RewardService) -> None:
    @app.post("/rewards", tags=["UniSim"])
    async def rewards(body: RewardsRequest) -> RewardsResponse:
        """Reward N images."""
        name = service.find(body.reward)
        scores = _all_scores(
            await service.score(
                name,
                _samples(
                    _decoded(body.images, "images"),
                    body.prompts,
                    None if body.references is None else _decoded(body.references, "references"),
                ),
            )
        )
        return RewardsResponse(
            reward=name,
            rewards=[score.reward for score in scores],
            scores={task: [score.scores[task] for score in scores] for task in scores[0].scores},
            signatures=service.signatures(name),
        )


def _add_groups(app: FastAPI, service: RewardService) -> None:
    @app.post("/groups", tags=["UniSim"])
    async def groups(body: GroupsRequest) -> GroupsResponse:
        """Reward B groups of candidates that compete."""
        name = service.find_group(body.reward)
        count = len(body.candidates)
        prompts = _each(body.prompts, count, "prompts", "candidates")
        references = _each(
            None if body.references is None else _decoded(body.references, "references"),
            count,
            "references",
            "candidates",
        )
        wanted = [
            Group(
                tuple(texts)
                if service.compares_texts(name)
                else tuple(_decoded(texts, f"candidates[{place}]")),
                prompts[place],
                references[place],
                tuple(f"candidates[{place}][{number}]" for number in range(len(texts))),
                f"references[{place}]",
            )
            for place, texts in enumerate(body.candidates)
        ]
        scores = _all_scores(await service.score_groups(name, wanted))
        return GroupsResponse(
            reward=name,
            rewards=[score.rewards for score in scores],
            scores={task: [score.scores[task] for score in scores] for task in scores[0].scores},
            signatures=service.group_signatures(name),
        )

    @app.post(f"{_NAMED_GROUPS}/compute", tags=["Flow-Factory"])
    async def compute_groups(name: str, body: ComputeRequest) -> ComputeResponse:
        """Reward N images, of which those with the same prompt compete."""
        name = service.find_group(name)
        if service.compares_texts(name):
            raise RequestError(
                422, f"The groups' reward must compare images here, but {name!r} compares texts."
            )
        samples = _samples_of_flow_factory(body)
        places: dict[str | None, list[int]] = {}
        for place, sample in enumerate(samples):
            places.setdefault(sample.prompt, []).append(place)
        wanted = [
            Group(
                tuple(samples[place].image for place in own),
                prompt,
                samples[own[0]].reference,
                tuple(samples[place].name for place in own),
                samples[own[0]].reference_name,
            )
            for prompt, own in places.items()
        ]
        rewards = [0.0] * len(samples)
        scores = _all_scores(await service.score_groups(name, wanted))
        for own, score in zip(places.values(), scores, strict=True):
            for place, reward in zip(own, score.rewards, strict=True):
                rewards[place] = reward
        return ComputeResponse(rewards=rewards)


def _add_flow_factory(app: FastAPI, service: RewardService) -> None:
    async def answer(name: str | None, body: ComputeRequest) -> ComputeResponse:
        samples = _samples_of_flow_factory(body)
        scores = _all_scores(await service.score(service.find(name), samples))
        return ComputeResponse(rewards=[score.reward for score in scores])

    @app.post("/compute", tags=["Flow-Factory"])
    async def compute(body: ComputeRequest) -> ComputeResponse:
        """Reward N images by the first reward."""
        return await answer(None, body)

    @app.post(f"{_NAMED}/compute", tags=["Flow-Factory"])
    async def compute_by(name: str, body: ComputeRequest) -> ComputeResponse:
        """Reward N images by a reward."""
        return await answer(name, body)


def _add_unirl(app: FastAPI, service: RewardService) -> None:
    @app.post("/score", tags=["UniRL"])
    async def score(body: ScoreRequest) -> ScoreResponse:
        """Reward N images, each by the rewards that it requires; an image that fails takes no other with it."""
        samples = [_sample_of_history(place, request) for place, request in enumerate(body.requests)]
        places: dict[str, list[int]] = {}
        for place, request in enumerate(body.requests):
            for name in dict.fromkeys(request.required_rewards):
                places.setdefault(service.find(name), []).append(place)
        if not places:
            raise RequestError(
                422, "Argument `requests` must hold requests with `required_rewards`, but has none."
            )
        answers = await asyncio.gather(
            *(service.score(name, [samples[place] for place in own]) for name, own in places.items())
        )
        results: list[dict[str, dict[str, float]]] = [{} for _ in samples]
        errors: list[dict[str, str]] = [{} for _ in samples]
        for (name, own), of_reward in zip(places.items(), answers, strict=True):
            for place, one in zip(own, of_reward, strict=True):
                if isinstance(one, Score):
                    # Its client takes the first figure for the reward.
                    results[place][name] = {"reward": one.reward, **one.scores}
                else:
                    errors[place][name] = str(one)
        return ScoreResponse(results=results, errors=errors)


def _add_pickled(app: FastAPI, service: RewardService) -> None:
    async def answer(name: str | None, request: Request) -> Response:
        try:
            wanted = await asyncio.to_thread(read_request, await request.body())
        except ValueError as error:
            raise RequestError(422, str(error)) from error
        samples = _samples(wanted.images, wanted.prompts, wanted.references)
        scores = _all_scores(await service.score(service.find(name), samples))
        rewards = [score.reward for score in scores]
        # The first is what verl-omni reads, the second what flow_grpo does.
        return pickled({"scores": rewards, "outputs": list(rewards)})

    described = {
        "requestBody": {
            "required": True,
            "description": "A pickled dict: images (list of encoded bytes), prompts (list of str), references (list of"
            " encoded bytes), metadata (not looked at).",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    }

    @app.post("/", tags=["flow_grpo", "verl-omni"], openapi_extra=described, response_class=Response)
    @app.post("/pickle", tags=["flow_grpo", "verl-omni"], openapi_extra=described, response_class=Response)
    async def unpickle(request: Request) -> Response:
        """Reward N images by the first reward."""
        return await answer(None, request)

    @app.post(
        f"{_NAMED}/pickle", tags=["flow_grpo", "verl-omni"], openapi_extra=described, response_class=Response
    )
    async def unpickle_by(name: str, request: Request) -> Response:
        """Reward N images by a reward."""
        return await answer(name, request)


def _samples(
    images: Sequence[bytes],
    prompts: Sequence[str] | None,
    references: Sequence[bytes] | None,
    names: tuple[str, str, str] = ("images", "prompts", "references"),
) -> list[Sample]:
    texts = _each(prompts, len(images), names[1], names[0])
    pictures = _each(references, len(images), names[2], names[0])
    return [
        Sample(image, texts[place], pictures[place], f"{names[0]}[{place}]", f"{names[2]}[{place}]")
        for place, image in enumerate(images)
    ]


def _each(values: Sequence[Value] | None, count: int, name: str, of: str) -> Sequence[Value | None]:
    """One value for each of so many; None for each if none are given."""
    if values is None:
        return [None] * count
    if len(values) != count:
        raise RequestError(
            422,
            f"Argument `{name}` must have one entry for each of the {count} of `{of}`, but got {len(values)}.",
        )
    return values


def _samples_of_flow_factory(body: ComputeRequest) -> list[Sample]:
    if body.video is not None or body.image is None:
        raise RequestError(422, "Argument `image` must hold the images to reward; videos are not scored.")
    references = None
    if body.condition_images is not None:
        if not all(body.condition_images):
            raise RequestError(422, "Argument `condition_images` must hold an image for each sample.")
        references = _decoded([images[0] for images in body.condition_images], "condition_images")
    return _samples(
        _decoded(body.image, "image"), body.prompt, references, ("image", "prompt", "condition_images")
    )


def _health(rewards: Sequence[str], groups: Sequence[str]) -> HealthResponse:
    # UniRL's backend reads names from a mapping.
    ready = {name: ["ready"] for name in rewards}
    return HealthResponse(status="ok", version=__version__, rewards=ready, groups=list(groups))


def _sample_of_history(place: int, request: HistoryRequest) -> Sample:
    name = f"requests[{place}].history"
    if not request.history:
        raise RequestError(422, f"Argument `{name}` must have at least one turn, but is empty.")
    images: list[bytes] = []
    for number, turn in enumerate(request.history):
        if turn.image_b64 is None:
            raise RequestError(
                422, f"Argument `{name}[{number}]` must have `image_b64`; videos are not scored."
            )
        images += _decoded([turn.image_b64], f"{name}[{number}].image_b64")
    last = len(images) - 1
    return Sample(
        images[-1],
        request.history[-1].text,
        images[0] if last else None,
        f"{name}[{last}].image_b64",
        f"{name}[0].image_b64",
    )


def _decoded(texts: Sequence[str], name: str) -> list[bytes]:
    """The bytes of base64, each with its place for messages."""
    images = []
    for place, text in enumerate(texts):
        try:
            images.append(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError) as error:
            raise RequestError(
                422, f"Argument `{name}[{place}]` must be an encoded image in base64, but is not: {error}."
            ) from error
    return images


def _all_scores(answers: Sequence[Scored | ValueError | TypeError]) -> list[Scored]:
    """The scores of a request, or the first error among them."""
    scores = []
    for answer in answers:
        if isinstance(answer, ValueError | TypeError):
            raise RequestError(422, str(answer))
        scores.append(answer)
    return scores
