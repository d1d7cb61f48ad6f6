"""The reward server, in this process and in one of its own: each form against `PointwiseReward`, and refusals."""

from __future__ import annotations

import asyncio
import base64
import json
import pickle
import signal
import socket
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from serving import (
    PROMPTS,
    encoded,
    flow_factory_form,
    get,
    make_app,
    own_form,
    pickled_form,
    picture,
    running,
    send,
    text_of,
    unirl_form,
)

from unisim_metrics.images import decode_image
from unisim_metrics.integrations.rewards import PointwiseReward
from unisim_metrics.integrations.serving.client import ServerError, UniSimClient
from unisim_metrics.integrations.serving.configuration import read_rewards
from unisim_metrics.integrations.serving.guard import Guard
from unisim_metrics.integrations.serving.limits import Limits
from unisim_metrics.integrations.serving.service import rewards_of_models
from unisim_metrics.models import EncoderModel

IMAGES = [encoded(seed, form) for seed, form in enumerate(("PNG", "JPEG", "WEBP", "PNG"))]
HTTP_CLIENT = httpx.Client
TWO = (IMAGES[:2], PROMPTS[:2])


@pytest.fixture(scope="module")
def rewards(exact: EncoderModel) -> dict[str, PointwiseReward]:
    """Of a model whose scores do not depend on the batch in a single bit."""
    both = {"mixed": PointwiseReward(exact, {"image-text": 1.0, "quality": 0.5})}
    return {**rewards_of_models({"tiny": exact}, "cpu"), **both}


def expected(
    reward: PointwiseReward, images: list[bytes], references: list[bytes] | None = None
) -> list[float]:
    metadata = None if references is None else [{"reference": decode_image(image)} for image in references]
    return reward([decode_image(image) for image in images], PROMPTS[: len(images)], metadata)[0].tolist()


class TestForms:
    def test_all_forms_at_once_answer_what_the_reward_answers(
        self, rewards: dict[str, PointwiseReward]
    ) -> None:
        wanted = expected(rewards["tiny"], IMAGES)
        own, compute, score, root, pickled = send(
            make_app(rewards),
            ("/rewards", own_form(IMAGES, PROMPTS)),
            ("/compute", flow_factory_form(IMAGES, PROMPTS)),
            ("/score", unirl_form(IMAGES, PROMPTS, ["tiny", "mixed"])),
            ("/", pickled_form(IMAGES, PROMPTS)),
            ("/pickle", pickled_form(IMAGES[:1], PROMPTS[:1])),
        )
        assert own.json()["rewards"] == wanted
        assert own.json()["scores"] == {"image-text": wanted}
        assert own.json()["signatures"] == rewards["tiny"].signatures
        assert compute.json() == {"rewards": wanted}
        mixed = expected(rewards["mixed"], IMAGES)
        assert score.json()["errors"] == [{}] * 4
        for place, result in enumerate(score.json()["results"]):
            assert result["tiny"] == {"reward": wanted[place], "image-text": wanted[place]}
            # UniRL's client takes the first figure.
            assert next(iter(result["mixed"].values())) == mixed[place]
        assert pickle.loads(root.content) == {"scores": wanted, "outputs": wanted}
        assert pickle.loads(pickled.content)["scores"] == wanted[:1]

    @pytest.mark.parametrize("name", ["mixed", "tiny/quality", "tiny/sharpness"])
    def test_a_reward_by_its_name(self, rewards: dict[str, PointwiseReward], name: str) -> None:
        wanted = expected(rewards[name], IMAGES)
        own, compute, pickled = send(
            make_app(rewards),
            ("/rewards", own_form(IMAGES, PROMPTS, reward=name)),
            (f"/rewards/{name}/compute", flow_factory_form(IMAGES, PROMPTS)),
            (f"/rewards/{name}/pickle", pickled_form(IMAGES, PROMPTS)),
        )
        assert own.json()["reward"] == name
        assert own.json()["rewards"] == compute.json()["rewards"] == wanted
        assert pickle.loads(pickled.content)["outputs"] == wanted

    def test_references(self, rewards: dict[str, PointwiseReward]) -> None:
        references = [encoded(seed + 10) for seed in range(4)]
        name = "tiny/image-image"
        wanted = expected(rewards[name], IMAGES, references)
        history = unirl_form(IMAGES, PROMPTS, [name])
        for request, reference in zip(history["requests"], references, strict=True):
            request["history"].insert(0, {"text": "", "image_b64": text_of(reference)})
        conditions = [[text_of(image), text_of(IMAGES[0])] for image in references]
        own, compute, score, pickled = send(
            make_app(rewards),
            ("/rewards", own_form(IMAGES, PROMPTS, reward=name, references=[text_of(r) for r in references])),
            (f"/rewards/{name}/compute", flow_factory_form(IMAGES, PROMPTS, condition_images=conditions)),
            ("/score", history),
            (f"/rewards/{name}/pickle", pickle.dumps({"images": IMAGES, "references": references})),
        )
        assert own.json()["rewards"] == compute.json()["rewards"] == wanted
        assert [result[name]["reward"] for result in score.json()["results"]] == wanted
        assert pickle.loads(pickled.content)["scores"] == wanted

    def test_flow_grpo_sends_images_alone_for_quality(self, rewards: dict[str, PointwiseReward]) -> None:
        (answer,) = send(make_app({"q": rewards["tiny/quality"]}), ("/", pickle.dumps({"images": IMAGES})))
        assert pickle.loads(answer.content)["outputs"] == expected(rewards["tiny/quality"], IMAGES)

    @pytest.mark.parametrize("count", [1, 2, 9, 40])
    def test_batches_compose(self, rewards: dict[str, PointwiseReward], count: int) -> None:
        """However requests share batches of eight, each image gets its own answer."""
        images = [encoded(seed) for seed in range(count)]
        answers = send(
            make_app(rewards),
            *(("/rewards", own_form([image], [PROMPTS[0]], reward="mixed")) for image in images),
            ("/rewards", own_form(images, [PROMPTS[0]] * count, reward="mixed")),
        )
        wanted, _ = rewards["mixed"]([decode_image(image) for image in images], [PROMPTS[0]] * count)
        assert [answer.json()["rewards"][0] for answer in answers[:-1]] == wanted.tolist()
        assert answers[-1].json()["rewards"] == wanted.tolist()


class TestFacts:
    def test_health_names_and_signatures(self, rewards: dict[str, PointwiseReward]) -> None:
        app = make_app(rewards)
        # UniRL's backend reads the names from this mapping, and refuses a list.
        assert get(app, "/health").json()["rewards"] == {name: ["ready"] for name in rewards}
        assert get(app, "/rewards/tiny/quality/health").json()["rewards"] == {"tiny/quality": ["ready"]}
        assert get(app, "/rewards").json() == {"rewards": list(rewards)}
        signatures = get(app, "/signature").json()["signatures"]
        assert signatures == {name: reward.signatures for name, reward in rewards.items()}
        one = get(app, "/signature", params={"reward": "mixed"}).json()["signatures"]
        assert one == {"mixed": rewards["mixed"].signatures}

    def test_metrics_count_what_was_asked(self, rewards: dict[str, PointwiseReward]) -> None:
        app = make_app(rewards)
        send(app, ("/rewards", own_form(*TWO)), ("/", pickled_form([b"no image"], ["a"])))
        lines = get(app, "/metrics").text.splitlines()
        assert 'unisim_requests_total{form="json",status="200"} 1.0' in lines
        assert 'unisim_requests_total{form="pickle",status="422"} 1.0' in lines
        assert 'unisim_images_total{reward="tiny"} 2.0' in lines
        assert 'unisim_refused_images_total{reward="tiny"} 1.0' in lines
        assert "unisim_waiting_images 0.0" in lines and "unisim_waiting_bytes 0.0" in lines

    def test_openapi_describes_every_form(self, rewards: dict[str, PointwiseReward]) -> None:
        paths = get(make_app(rewards), "/openapi.json").json()["paths"]
        assert {"/rewards", "/compute", "/score", "/", "/pickle", "/health", "/signature", "/metrics"} <= set(
            paths
        )

    def test_a_model_serves_its_tasks(self, rewards: dict[str, PointwiseReward]) -> None:
        alone = (
            "image-text",
            "image-image",
            "quality",
            "brightness",
            "colorfulness",
            "contrast",
            "sharpness",
        )
        assert set(rewards) == {"tiny", "mixed", *(f"tiny/{task}" for task in alone)}
        assert rewards["tiny"] is rewards["tiny/image-text"]


def bomb(side: int) -> bytes:
    """A PNG that announces many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )


WRONG: dict[str, tuple[str, Any, int, str]] = {
    "a decompression bomb": ("/rewards", own_form([bomb(60_000)], ["a"]), 422, "3600000000 pixels"),
    "many pixels": ("/rewards", own_form([bomb(5000)], ["a"]), 422, "5000 × 5000 pixels"),
    "no image": ("/rewards", own_form([b"no"], ["a"]), 422, "images[0]"),
    "a GIF": ("/rewards", own_form([encoded(0, "GIF")], ["a"]), 422, "images[0]"),
    "no base64": ("/rewards", {"images": ["?"], "prompts": ["a"]}, 422, "images[0]"),
    "wrong keys": ("/rewards", own_form(*TWO, image="x"), 422, "`image`"),
    "wrong types": ("/rewards", {"images": [1], "prompts": ["a"]}, 422, "`images.0`"),
    "no images": ("/rewards", own_form([], []), 422, "at least one image"),
    "no prompts": ("/rewards", {"images": [text_of(IMAGES[0])]}, 422, "images[0] has none"),
    "unequal counts": ("/rewards", own_form(IMAGES[:2], PROMPTS[:1]), 422, "each of the 2"),
    "an unknown reward": ("/rewards", own_form(*TWO, reward="other"), 404, "'other'"),
    "no reference": ("/rewards", own_form(*TWO, reward="tiny/image-image"), 422, "reference image"),
    "a long prompt": ("/rewards", own_form(IMAGES[:1], ["a" * 20_001]), 413, "20000 characters"),
    "many images": ("/rewards", own_form(IMAGES[:1] * 1025, ["a"] * 1025), 413, "1024 images"),
    "no JSON": ("/rewards", b"{", 422, "JSON"),
    "deep JSON": ("/rewards", b"[" * 500_000, 400, "body"),
    "much JSON": ("/rewards", b"[" + b"[]," * 600_000 + b"[]]", 413, "entries"),
    "an unknown path": ("/other", {}, 404, "Not Found"),
    "videos": ("/compute", flow_factory_form(*TWO, video=[["x"]], image=None), 422, "videos"),
    "no conditions": (
        "/compute",
        flow_factory_form(*TWO, condition_images=[[], []]),
        422,
        "condition_images",
    ),
    "prompts of Flow-Factory": ("/compute", flow_factory_form(IMAGES[:2], PROMPTS[:1]), 422, "`prompt`"),
    "an unknown reward by path": ("/rewards/other/compute", flow_factory_form(*TWO), 404, "'other'"),
    "an unknown reward of UniRL": ("/score", unirl_form(*TWO, ["other"]), 404, "'other'"),
    "no requests": ("/score", {"requests": []}, 422, "required_rewards"),
    "no history": (
        "/score",
        {"requests": [{"history": [], "required_rewards": ["tiny"]}]},
        422,
        "requests[0].history",
    ),
    "a file of the server": (
        "/score",
        {
            "requests": [
                {"history": [{"text": "", "video_path": "/etc/passwd"}], "required_rewards": ["tiny"]}
            ]
        },
        422,
        "image_b64",
    ),
    "a pickle without images": ("/", pickle.dumps({"prompts": []}), 422, "`images`"),
    "a pickle with a payload": ("/", b"cos\nabort\n(tR.", 422, "GLOBAL"),
    "a pickle with a payload in its list": (
        "/pickle",
        b"\x80\x04}\x8c\x06images](\x8c\x02os\x8c\x05abort\x93)Res.",
        422,
        "STACK_GLOBAL",
    ),
    "an empty pickle": ("/", pickled_form([], []), 422, "at least one image"),
    "an empty body": ("/", b"", 422, "pickle"),
}


class TestRefusals:
    @pytest.mark.parametrize("what", WRONG)
    def test_a_wrong_request_is_told_and_takes_none_with_it(
        self, rewards: dict[str, PointwiseReward], what: str
    ) -> None:
        path, body, status, message = WRONG[what]
        wrong, good = send(make_app(rewards), (path, body), ("/rewards", own_form(*TWO)))
        assert wrong.status_code == status, wrong.text
        answer = pickle.loads(wrong.content) if path in ("/", "/pickle") else wrong.json()
        assert message in answer["error"]
        assert len(answer["error"]) < 2000
        assert good.json()["rewards"] == expected(rewards["tiny"], IMAGES[:2])

    def test_a_truncated_image_fails_alone_in_its_batch(self, rewards: dict[str, PointwiseReward]) -> None:
        whole = encoded(5, "JPEG", (200, 200))
        truncated = whole[: len(whole) // 2]
        form = unirl_form([IMAGES[0], truncated, IMAGES[1]], PROMPTS[:3], ["tiny"])
        score, own, pickled, good = send(
            make_app(rewards),
            ("/score", form),
            ("/rewards", own_form([IMAGES[0], truncated], PROMPTS[:2])),
            ("/pickle", pickled_form([truncated], PROMPTS[:1])),
            ("/rewards", own_form(*TWO)),
        )
        assert list(map(list, score.json()["results"])) == [["tiny"], [], ["tiny"]]
        assert "requests[1].history[0].image_b64" in score.json()["errors"][1]["tiny"]
        assert (own.status_code, pickled.status_code) == (422, 422)
        assert "images[1]" in own.json()["error"]
        assert "images[0]" in pickle.loads(pickled.content)["error"]
        assert good.json()["rewards"] == expected(rewards["tiny"], IMAGES[:2])

    def test_more_than_may_wait_is_refused_for_now(self, rewards: dict[str, PointwiseReward]) -> None:
        app = make_app(rewards, images=4, waiting_images=4)
        answers = send(
            app, *[("/rewards", own_form(IMAGES, PROMPTS))] * 3, ("/", pickled_form(IMAGES, PROMPTS))
        )
        assert sorted(answer.status_code for answer in answers) == [200, 429, 429, 429]
        for answer in answers:
            assert answer.status_code == 200 or answer.headers["Retry-After"] == "1"
        (later,) = send(app, ("/rewards", own_form(IMAGES, PROMPTS)))
        assert later.status_code == 200

    def test_more_bytes_than_are_held_wait_at_the_door(self, rewards: dict[str, PointwiseReward]) -> None:
        body = json.dumps(own_form(*TWO)).encode()
        app = make_app(rewards, body_bytes=len(body), waiting_bytes=len(body))
        answers = send(app, *[("/rewards", body)] * 3)
        assert sorted(answer.status_code for answer in answers) == [200, 503, 503]
        assert app.held == 0

    def test_a_body_that_does_not_arrive_ends(self, rewards: dict[str, PointwiseReward]) -> None:
        app = make_app(rewards, body_seconds=0.05)

        async def slow() -> Any:
            yield b"{"
            await asyncio.sleep(1)
            yield b"}"

        async def send() -> httpx.Response:
            async with httpx.AsyncClient(transport=_Streaming(app), base_url="http://server") as client:
                return await client.post("/rewards", content=slow())

        answer = asyncio.run(send())
        assert answer.status_code == 408
        assert "0.05 seconds" in answer.json()["error"]

    @pytest.mark.parametrize("path", ["/rewards", "/"])
    def test_a_body_is_refused_by_its_announced_size(
        self, rewards: dict[str, PointwiseReward], path: str
    ) -> None:
        (answer,) = send(make_app(rewards), (path, b"x"), headers={"Content-Length": str(2 * 2**30)})
        assert answer.status_code == 413
        content = pickle.loads(answer.content) if path == "/" else answer.json()
        assert str(2 * 2**30) in content["error"]

    def test_a_model_that_breaks_takes_no_other_reward_with_it(
        self, rewards: dict[str, PointwiseReward]
    ) -> None:
        class Broken(PointwiseReward):
            def score(self, batch: Any) -> Any:
                raise RuntimeError("out of memory")

        app = make_app({**rewards, "broken": Broken(rewards["tiny"].model)})
        own, pickled, good = send(
            app,
            ("/rewards", own_form(*TWO, reward="broken")),
            ("/rewards/broken/pickle", pickled_form(*TWO)),
            ("/rewards", own_form(*TWO)),
        )
        assert (own.status_code, own.json()["error"]) == (500, "RuntimeError: out of memory")
        assert pickle.loads(pickled.content) == {"error": "RuntimeError: out of memory"}
        assert good.json()["rewards"] == expected(rewards["tiny"], IMAGES[:2])
        assert app.taken == app.answered == 3

    def test_limits_that_contradict_each_other(self) -> None:
        with pytest.raises(ValueError, match="`waiting_images` must be at least `images`"):
            Limits(images=10, waiting_images=9)
        with pytest.raises(ValueError, match="`pixels` must be positive"):
            Limits(pixels=0)


class _Streaming(httpx.AsyncBaseTransport):
    """Hands a body on piece by piece, as it comes."""

    def __init__(self, app: Guard) -> None:
        self.app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        pieces = request.stream.__aiter__()  # type: ignore[union-attr]
        sent: list[Any] = []

        async def receive() -> Any:
            piece = await anext(pieces, None)
            return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": request.method,
            "path": request.url.path,
            "headers": request.headers.raw,
            "query_string": b"",
            "server": ("server", 80),
            "scheme": "http",
        }
        await self.app(scope, receive, send)
        body = b"".join(message.get("body", b"") for message in sent)
        return httpx.Response(sent[0]["status"], content=body)


class TestToken:
    def test_only_who_knows_it_is_let_in(self, rewards: dict[str, PointwiseReward]) -> None:
        app = make_app(rewards, token="sécret")
        basic = base64.b64encode("unisim:sécret".encode()).decode()
        for header, status in (
            (None, 401),
            ("Bearer other", 401),
            ("Basic ?", 401),
            ("Basic " + base64.b64encode(b"unisim:other").decode(), 401),
            ("Basic " + basic, 200),
            ("Bearer sécret".encode(), 200),
        ):
            headers: Any = {} if header is None else {"Authorization": header}
            own, pickled = send(app, ("/rewards", own_form(*TWO)), ("/", pickled_form(*TWO)), headers=headers)
            assert (own.status_code, pickled.status_code) == (status, status), header
            if status == 401:
                assert "token" in own.json()["error"] and "token" in pickle.loads(pickled.content)["error"]
            assert get(app, "/rewards", headers=headers).status_code == status
        assert get(app, "/health").status_code == 200
        assert get(app, "/openapi.json").status_code == 401


def answering(
    *answers: Callable[[httpx.Request], httpx.Response],
) -> tuple[httpx.MockTransport, list[httpx.Request]]:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answers[min(len(asked), len(answers)) - 1](request)

    return httpx.MockTransport(answer), asked


class TestClient:
    @pytest.fixture
    def client(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., UniSimClient]:
        def make(transport: httpx.BaseTransport, **options: Any) -> UniSimClient:
            monkeypatch.setattr(httpx, "Client", lambda **given: HTTP_CLIENT(transport=transport, **given))
            return UniSimClient("http://server", pause=0.001, **options)

        return make

    def test_it_asks_again_where_that_helps(self, client: Callable[..., UniSimClient]) -> None:
        def fail(request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("refused", request=request)

        good = {"rewards": [0.5], "scores": {"quality": [0.5]}, "signatures": {"quality": "s"}}
        transport, asked = answering(
            fail,
            lambda _: httpx.Response(429, json={"error": "busy"}),
            lambda _: httpx.Response(503, json={"error": "busy"}),
            lambda _: httpx.Response(200, json=good),
        )
        with client(transport, token="t") as one:
            answer = one.score([picture(0)], ["a"], reward="r")
        assert (answer.rewards, answer.scores, answer.signatures) == tuple(good.values())
        assert len(asked) == 4
        assert asked[0].headers["Authorization"] == "Bearer t"
        assert json.loads(asked[-1].content)["reward"] == "r"

    def test_it_gives_up_with_the_servers_words(self, client: Callable[..., UniSimClient]) -> None:
        transport, asked = answering(lambda _: httpx.Response(503, json={"error": "held"}))
        with client(transport, retries=2) as one, pytest.raises(ServerError, match="503: held") as caught:
            one.rewards()
        assert (len(asked), caught.value.status) == (3, 503)
        transport, asked = answering(lambda _: httpx.Response(422, json={"error": "wrong"}))
        with client(transport) as one, pytest.raises(ServerError, match="422: wrong"):
            one.score([b"x"])
        assert len(asked) == 1

    def test_the_token_of_the_environment(
        self, client: Callable[..., UniSimClient], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("UNISIM_TOKEN", "from-outside")
        transport, asked = answering(lambda _: httpx.Response(200, json={"rewards": []}))
        with client(transport) as one:
            assert one.rewards() == []
        assert asked[0].headers["Authorization"] == "Bearer from-outside"

    @pytest.mark.parametrize("option", ["retries", "pause", "timeout"])
    def test_options_out_of_range(self, option: str) -> None:
        with pytest.raises(ValueError, match=f"`{option}`"):
            UniSimClient("http://server", **{option: -1})


class TestConfiguration:
    def test_rewards_of_a_file(self, tmp_path: Path, tiny_clip_dir: Path) -> None:
        path = tmp_path / "rewards.toml"
        path.write_text(
            f"[rewards.align]\nmodel = {str(tiny_clip_dir)!r}\ntasks = {{image-text = 1.0, quality = 0.5}}\n"
            f"[rewards.look]\nmodel = {str(tiny_clip_dir)!r}\ntasks = 'sharpness'\nmethod = 'clip-iqa'\n"
        )
        rewards = read_rewards(path)
        assert {name: reward.weights for name, reward in rewards.items()} == {
            "align": {"image-text": 1.0, "quality": 0.5},
            "look": {"sharpness": 1.0},
        }
        assert rewards["look"].method == "clip-iqa"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[rewards", "expected TOML"),
            ("", "expected tables"),
            ("[other]\n[rewards.a]\nmodel = 'unisim-mini'", "expected tables"),
            ("[rewards.a]\ntasks = 'quality'", r"\[rewards.a\]: expected a table with `model`"),
            ("[rewards.a]\nmodel = 'unisim-mini'\ntask = 'quality'", "'task'"),
            ("[rewards.a]\nmodel = 'unisim-mini'\ntasks = 'caption'", r"\[rewards.a\]: Argument `tasks`"),
        ],
    )
    def test_what_is_wrong_in_a_file_is_named(self, tmp_path: Path, text: str, message: str) -> None:
        path = tmp_path / "rewards.toml"
        path.write_text(text)
        with pytest.raises(ValueError, match=message) as caught:
            read_rewards(path)
        assert str(path) in str(caught.value)


def test_a_process_answers_all_that_it_took(tmp_path: Path, tiny_clip_dir: Path) -> None:
    """SIGTERM under load: every answer is right, and what was taken is answered."""
    reward = PointwiseReward(tiny_clip_dir)
    images = [encoded(seed) for seed in range(16)]
    wanted = [reward([decode_image(image)], ["a cat"])[0].item() for image in images]
    with running(f"tiny={tiny_clip_dir}", "--device", "cpu", token="t") as (process, address, lines):
        with UniSimClient(address, "t") as client:
            assert client.rewards()[0] == "tiny"
            assert client.score(images, ["a cat"] * 16).rewards == pytest.approx(wanted, abs=1e-5)
            groups = client.score_groups([images[:2], images[2:5]], ["a cat"] * 2)
            assert [len(scores) for scores in groups.scores["image-text"]] == [2, 3]
            for scores, shares in zip(groups.scores["image-text"], groups.rewards, strict=True):
                assert shares[scores.index(max(scores))] == 1
            captions = client.score_captions([["a cat", "a dog"]], images[:1], reward="tiny/caption")
            assert captions.scores["caption"][0][0] == pytest.approx(wanted[0], abs=1e-5)
        with UniSimClient(address, "other") as client, pytest.raises(ServerError, match="401"):
            client.rewards()
        # A body of 2 GB is refused by its head, and pickled clients can read why.
        url = urlsplit(address)
        head = f"POST / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer t\r\nContent-Length: {2 * 2**30}\r\n\r\n"
        with socket.create_connection((url.hostname, url.port)) as raw:
            raw.sendall(head.encode())
            answer = raw.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert str(2 * 2**30) in pickle.loads(answer.partition(b"\r\n\r\n")[2])["error"]
        answered: list[tuple[int, float]] = []

        def load(worker: int) -> None:
            with UniSimClient(address, "t", retries=0) as client:
                for place in range(worker, 10_000):
                    try:
                        (value,) = client.score([images[place % 16]], ["a cat"]).rewards
                    except ServerError as error:
                        assert error.status is None
                        return
                    answered.append((place % 16, value))
                    if len(answered) == 60:
                        process.send_signal(signal.SIGTERM)

        with ThreadPoolExecutor(8) as workers:
            list(workers.map(load, range(8)))
        assert process.wait(60) == 0
    assert len(answered) >= 60
    for place, value in answered:
        assert value == pytest.approx(wanted[place], abs=1e-5)
    taken, done = (int(word) for word in lines[-1].replace(",", "").split() if word.isdecimal())
    assert taken == done
    # Six requests came before the load.
    assert done == len(answered) + 6
