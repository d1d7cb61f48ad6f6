"""The routes: each form of request becomes samples, and their answers become that form's."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from unisim_metrics.version import __version__

from .failures import RequestError, failure, pickled
from .guard import Guard
from .pickles import read_request
from .schemas import (
    ComputeRequest,
    ComputeResponse,
    ErrorResponse,
    HealthResponse,
    HistoryRequest,
    RewardNames,
    RewardsRequest,
    RewardsResponse,
    ScoreRequest,
    ScoreResponse,
    SignaturesResponse,
)
from .service import Answer, RewardService, Sample, Score

# In a path, since some clients can be given no more than an address.
_NAMED = "/rewards/{name:path}"


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
        return HealthResponse(
            status="ok", version=__version__, rewards={name: ["ready"] for name in service.names}
        )

    @app.get(f"{_NAMED}/health", tags=["server"])
    async def health_of(name: str) -> HealthResponse:
        """Tell that the server answers for a reward."""
        return HealthResponse(status="ok", version=__version__, rewards={service.find(name): ["ready"]})

    @app.get("/rewards", tags=["server", "UniRL"])
    async def names() -> RewardNames:
        """List the rewards."""
        return RewardNames(rewards=service.names)

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


def _add_flow_factory(app: FastAPI, service: RewardService) -> None:
    async def answer(name: str | None, body: ComputeRequest) -> ComputeResponse:
        if body.video is not None or body.image is None:
            raise RequestError(422, "Argument `image` must hold the images to reward; videos are not scored.")
        references = None
        if body.condition_images is not None:
            if not all(body.condition_images):
                raise RequestError(422, "Argument `condition_images` must hold an image for each sample.")
            references = _decoded([images[0] for images in body.condition_images], "condition_images")
        samples = _samples(
            _decoded(body.image, "image"), body.prompt, references, ("image", "prompt", "condition_images")
        )
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
    for values, name in ((prompts, names[1]), (references, names[2])):
        if values is not None and len(values) != len(images):
            raise RequestError(
                422,
                f"Argument `{name}` must have one entry for each of the {len(images)} of `{names[0]}`, but got"
                f" {len(values)}.",
            )
    return [
        Sample(
            image,
            None if prompts is None else prompts[place],
            None if references is None else references[place],
            f"{names[0]}[{place}]",
            f"{names[2]}[{place}]",
        )
        for place, image in enumerate(images)
    ]


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


def _all_scores(answers: Sequence[Answer]) -> list[Score]:
    """The scores of a request, or the first error among them."""
    scores = []
    for answer in answers:
        if not isinstance(answer, Score):
            raise RequestError(422, str(answer))
        scores.append(answer)
    return scores
