"""What the trainers' own clients have sent, as it was recorded, against `PointwiseReward` on the images in it."""

from __future__ import annotations

import base64
import json
import pickle
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import make_app, send

from unisim_metrics.images import decode_image
from unisim_metrics.integrations.rewards import PointwiseReward
from unisim_metrics.integrations.serving.service import rewards_of_models
from unisim_metrics.models import EncoderModel

RECORDED = Path(__file__).parent / "data" / "trainers"
PROMPTS = ["a cat", "a dog on grass", "two boats"]


@pytest.fixture(scope="module")
def rewards(exact: EncoderModel) -> dict[str, PointwiseReward]:
    return rewards_of_models({"tiny": exact}, "cpu")


def body(file: str) -> bytes:
    return (RECORDED / file).read_bytes()


def images_of(texts: list[str]) -> list[Any]:
    return [decode_image(base64.b64decode(text)) for text in texts]


def ask(rewards: dict[str, PointwiseReward], path: str, file: str) -> httpx.Response:
    headers = {"Content-Type": "application/json"} if file.endswith(".json") else {}
    (answer,) = send(make_app(rewards), (path, body(file)), headers=headers)
    return answer


def test_every_recorded_body_says_where_it_is_from() -> None:
    listed = [
        line.split("`")[1] for line in (RECORDED / "README.md").read_text().splitlines() if "| `" in line
    ]
    assert sorted(listed) == sorted(path.name for path in RECORDED.iterdir() if path.suffix != ".md")


class TestFlowFactory:
    """Its client reads `rewards`, one a sample, and takes any key `error` for a failure."""

    def test_pointwise(self, rewards: dict[str, PointwiseReward]) -> None:
        sent = json.loads(body("flow_factory.json"))
        assert sent["prompt"] == PROMPTS
        wanted, _ = rewards["tiny"](images_of(sent["image"]), PROMPTS)
        answer = ask(rewards, "/compute", "flow_factory.json")
        assert (answer.status_code, answer.json()) == (200, {"rewards": wanted.tolist()})

    def test_edits(self, rewards: dict[str, PointwiseReward]) -> None:
        sent = json.loads(body("flow_factory_edit.json"))
        firsts = images_of([images[0] for images in sent["condition_images"]])
        metadata = [{"reference": image} for image in firsts]
        wanted, _ = rewards["tiny/image-image"](images_of(sent["image"]), PROMPTS, metadata)
        answer = ask(rewards, "/rewards/tiny/image-image/compute", "flow_factory_edit.json")
        assert (answer.status_code, answer.json()) == (200, {"rewards": wanted.tolist()})


class TestUniRL:
    """Its backend takes the first figure of each name, and a name that is missing or not finite for a failure."""

    @pytest.mark.parametrize("file", ["unirl.json", "unirl_client.json"])
    def test_images(self, rewards: dict[str, PointwiseReward], file: str) -> None:
        requests = json.loads(body(file))["requests"]
        images = images_of([request["history"][0]["image_b64"] for request in requests])
        answer = ask(rewards, "/score", file)
        assert answer.status_code == 200
        for name in requests[0]["required_rewards"]:
            wanted, _ = rewards[name](images, PROMPTS)
            firsts = [next(iter(result[name].values())) for result in answer.json()["results"]]
            assert firsts == wanted.tolist()
        assert answer.json()["errors"] == [{}] * 3

    def test_edits_are_histories_of_two_turns(self, rewards: dict[str, PointwiseReward]) -> None:
        requests = json.loads(body("unirl_edit.json"))["requests"]
        sources, edited = (
            images_of([request["history"][turn]["image_b64"] for request in requests]) for turn in (0, 1)
        )
        metadata = [{"reference": image} for image in sources]
        wanted, _ = rewards["tiny/image-image"](edited, PROMPTS, metadata)
        results = ask(rewards, "/score", "unirl_edit.json").json()["results"]
        assert [next(iter(result["tiny/image-image"].values())) for result in results] == wanted.tolist()


class TestPickles:
    def test_verl_omni_sends_one_image_and_reads_scores(self, rewards: dict[str, PointwiseReward]) -> None:
        (image,) = pickle.loads(body("verl_omni.pickle"))["images"]
        wanted, _ = rewards["tiny"]([decode_image(image)], PROMPTS[:1])
        answer = ask(rewards, "/pickle", "verl_omni.pickle")
        assert answer.status_code == 200
        assert pickle.loads(answer.content)["scores"] == wanted.tolist()

    @pytest.mark.parametrize(
        ("file", "name", "path"),
        [
            ("flow_grpo_deqa.pickle", "tiny/quality", "/rewards/tiny/quality/pickle"),
            ("flow_grpo_prompts.pickle", "tiny", "/"),
        ],
    )
    def test_flow_grpo_reads_outputs(
        self, rewards: dict[str, PointwiseReward], file: str, name: str, path: str
    ) -> None:
        images = [decode_image(image) for image in pickle.loads(body(file))["images"]]
        wanted, _ = rewards[name](images, PROMPTS)
        answer = ask(rewards, path, file)
        assert answer.status_code == 200
        assert pickle.loads(answer.content)["outputs"] == wanted.tolist()

    def test_flow_grpo_s_array_is_refused_with_the_way_out(self, rewards: dict[str, PointwiseReward]) -> None:
        answer = ask(rewards, "/", "flow_grpo_array.pickle")
        assert answer.status_code == 422
        assert "prompts.tolist()" in pickle.loads(answer.content)["error"]
