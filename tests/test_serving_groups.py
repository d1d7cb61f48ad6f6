"""Groups on the reward server, against `GroupwiseReward`, the ranking function and win rates counted by hand."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import tiny_generative
from serving import PROMPTS, encoded, flow_factory_form, get, send, text_of

from unisim_metrics.functional import unisim_rank
from unisim_metrics.images import decode_image
from unisim_metrics.integrations.rewards import GroupwiseReward, PointwiseReward
from unisim_metrics.integrations.serving.app import create_app
from unisim_metrics.integrations.serving.groups import GroupReward, groups_of_models
from unisim_metrics.integrations.serving.guard import Guard
from unisim_metrics.integrations.serving.limits import Limits
from unisim_metrics.integrations.serving.service import RewardService, rewards_of_models
from unisim_metrics.models import EncoderModel
from unisim_metrics.tasks import TASKS

WEIGHTS = {"image-text": 1.0, "quality": 0.5}
IMAGES = [
    encoded(seed, form) for seed, form in enumerate(("PNG", "JPEG", "WEBP", "PNG", "PNG", "JPEG", "PNG"))
]
GROUPS = [IMAGES[:3], IMAGES[3:5], IMAGES[4:7]]
RECORDED = Path(__file__).parent / "data" / "trainers" / "flow_factory_group.json"


def group_form(groups: list[list[bytes]], **more: Any) -> dict[str, Any]:
    return {"candidates": [[text_of(image) for image in group] for group in groups], **more}


@pytest.fixture(scope="module")
def service(exact: EncoderModel) -> Any:
    """A function that makes the service, of a model whose scores do not depend on the batch in a single bit."""
    rewards = {**rewards_of_models({"tiny": exact}, "cpu"), "mixed": PointwiseReward(exact, WEIGHTS)}
    groups = {**groups_of_models({"tiny": exact}), "mixed": GroupReward.of(rewards["mixed"])}
    return lambda **limits: RewardService(rewards, Limits(**limits), batch_size=8, wait=0.05, groups=groups)


@pytest.fixture
def app(service: Any) -> Guard:
    return create_app(service())


def pictures(group: list[bytes]) -> list[Any]:
    return [decode_image(image) for image in group]


def flat_list(rows: list[list[float]]) -> list[float]:
    return [value for row in rows for value in row]


def by_hand(scores: list[float]) -> Any:
    """The share of the others that each beats, a tie a half; as float32 has it."""
    shares = [
        sum((one > other) + 0.5 * (one == other) for place, other in enumerate(scores) if place != own)
        / (len(scores) - 1)
        for own, one in enumerate(scores)
    ]
    return pytest.approx(shares, abs=1e-7)


@pytest.mark.parametrize("tasks", ["image-text", "quality", WEIGHTS])
def test_images_of_a_prompt_compete_as_for_groupwise_reward(
    app: Guard, exact: EncoderModel, tasks: Any
) -> None:
    name = "mixed" if tasks is WEIGHTS else f"tiny/{tasks}"
    (answer,) = send(app, ("/groups", group_form(GROUPS, prompts=PROMPTS[:3], reward=name)))
    flat = [image for group in GROUPS for image in pictures(group)]
    prompts = [prompt for prompt, group in zip(PROMPTS, GROUPS, strict=False) for _ in group]
    wanted, info = GroupwiseReward(exact, tasks)(flat, prompts)
    body = answer.json()
    assert (answer.status_code, body["reward"]) == (200, name)
    assert [len(group) for group in body["rewards"]] == [3, 2, 3]
    assert flat_list(body["rewards"]) == wanted.tolist()
    assert {task: flat_list(rows) for task, rows in body["scores"].items()} == {
        task: scores.tolist() for task, scores in info["scores"].items()
    }
    assert body["signatures"] == info["signatures"]


def test_a_group_needs_no_prompt_where_none_is_looked_at(app: Guard, exact: EncoderModel) -> None:
    (answer,) = send(app, ("/groups", group_form(GROUPS[:1], reward="tiny/quality")))
    (scores,) = unisim_rank([pictures(GROUPS[0])], None, exact, task="quality").tolist()
    assert answer.json()["scores"] == {"quality": [scores]}
    assert answer.json()["rewards"] == [by_hand(scores)]


def test_images_are_held_against_the_group_s_reference(app: Guard, exact: EncoderModel) -> None:
    references = [encoded(20), encoded(21), encoded(22)]
    form = group_form(GROUPS, references=[text_of(image) for image in references], reward="tiny/image-image")
    (answer,) = send(app, ("/groups", form))
    for group, reference, rewards, scores in zip(
        GROUPS, references, answer.json()["rewards"], answer.json()["scores"]["image-image"], strict=True
    ):
        wanted = unisim_rank([pictures(group)], [decode_image(reference)], exact, task="image-image")
        assert scores == wanted[0].tolist()
        assert rewards == by_hand(scores)


def test_captions_of_an_image_compete(app: Guard, exact: EncoderModel) -> None:
    captions = [PROMPTS[:2], PROMPTS]
    images = [encoded(20), encoded(21)]
    form = {
        "candidates": captions,
        "references": [text_of(image) for image in images],
        "reward": "tiny/caption",
    }
    (answer,) = send(app, ("/groups", form))
    for group, image, rewards, scores in zip(
        captions, images, answer.json()["rewards"], answer.json()["scores"]["caption"], strict=True
    ):
        wanted = unisim_rank([group], [decode_image(image)], exact, task="caption")
        assert scores == wanted[0].tolist()
        assert rewards == by_hand(scores)


def test_the_odd_one_out_of_three(app: Guard, exact: EncoderModel) -> None:
    three, two = send(
        app,
        ("/groups", group_form(GROUPS[:1], reward="tiny/odd-one-out")),
        ("/groups", group_form(GROUPS[1:2], reward="tiny/odd-one-out")),
    )
    wanted = unisim_rank([pictures(GROUPS[0])], None, exact, task="odd-one-out")
    assert three.json()["scores"]["odd-one-out"] == wanted.tolist()
    assert two.status_code == 422


def test_requests_share_batches_and_keep_their_groups(app: Guard, exact: EncoderModel) -> None:
    """Groups of the same prompt from several requests do not mix, however they fall into batches of eight."""
    groups = [[encoded(10 * place + number) for number in range(2 + place % 4)] for place in range(9)]
    answers = send(app, *(("/groups", group_form([group], prompts=["a cat"])) for group in groups))
    for group, answer in zip(groups, answers, strict=True):
        (scores,) = unisim_rank([pictures(group)], "a cat", exact).tolist()
        assert answer.json()["rewards"] == [by_hand(scores)]


class TestFlowFactory:
    """`RemoteGroupwiseRewardModel` sends each group by the request that its pointwise sibling sends."""

    def test_prompts_tell_groups_apart(self, app: Guard, exact: EncoderModel) -> None:
        prompts = ["a cat", "a dog", "a cat", "a dog", "a cat"]
        (answer,) = send(app, ("/groups/tiny/compute", flow_factory_form(IMAGES[:5], prompts)))
        wanted, _ = GroupwiseReward(exact)(pictures(IMAGES[:5]), prompts)
        assert answer.json() == {"rewards": wanted.tolist()}

    def test_edits_are_held_against_the_first_condition(self, app: Guard, exact: EncoderModel) -> None:
        reference = encoded(20)
        conditions = [[text_of(reference), text_of(image)] for image in IMAGES[:3]]
        form = flow_factory_form(IMAGES[:3], ["a cat"] * 3, condition_images=conditions)
        (answer,) = send(app, ("/groups/tiny/image-image/compute", form))
        (scores,) = unisim_rank([pictures(IMAGES[:3])], [decode_image(reference)], exact).tolist()
        assert answer.json() == {"rewards": by_hand(scores)}

    def test_what_its_client_has_sent(self, app: Guard, exact: EncoderModel) -> None:
        body = RECORDED.read_bytes()
        (answer,) = send(
            app, ("/groups/tiny/image-text/compute", body), headers={"Content-Type": "application/json"}
        )
        images = pictures([base64.b64decode(text) for text in json.loads(body)["image"]])
        (scores,) = unisim_rank([images], json.loads(body)["prompt"][0], exact).tolist()
        assert answer.json() == {"rewards": by_hand(scores)}
        assert sorted(answer.json()["rewards"]) == [0, 0.5, 1]

    def test_its_client_asks_for_health_first(self, app: Guard) -> None:
        assert get(app, "/groups/tiny/image-text/health").json()["groups"] == ["tiny/image-text"]
        assert get(app, "/groups/other/health").status_code == 404

    def test_captions_are_not_its_form(self, app: Guard) -> None:
        (answer,) = send(app, ("/groups/tiny/caption/compute", flow_factory_form(IMAGES[:2], ["a"] * 2)))
        assert (answer.status_code, "compares texts" in answer.json()["error"]) == (422, True)


def test_a_model_that_only_compares_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_generative.model()
    # As those are that are asked for a letter alone.
    monkeypatch.setattr(type(model), "tasks", dict.fromkeys(TASKS, "choices"))
    rewards, groups = rewards_of_models({"chooser": model}, "cpu"), groups_of_models({"chooser": model})
    app = create_app(RewardService(rewards, groups=groups))
    names = get(app, "/groups").json()["rewards"]
    assert {"chooser", "chooser/caption", "chooser/odd-one-out"} <= set(names)
    own, alone = send(
        app,
        ("/groups", group_form([IMAGES[:2]], prompts=["a cat"])),
        ("/rewards", {"images": [text_of(IMAGES[0])], "prompts": ["a cat"]}),
    )
    wanted = unisim_rank([pictures(IMAGES[:2])], "a cat", model)
    assert own.json()["scores"]["image-text"] == [pytest.approx(wanted[0].tolist(), abs=1e-5)]
    assert alone.status_code == 404 and "one of none" in alone.json()["error"]


def test_a_service_serves_the_groups_of_its_rewards(exact: EncoderModel) -> None:
    app = create_app(RewardService({"mixed": PointwiseReward(exact, WEIGHTS)}))
    assert get(app, "/groups").json() == {"rewards": ["mixed"]}
    assert get(app, "/health").json()["groups"] == ["mixed"]


WRONG: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "nothing": ("/groups", {"candidates": []}, 422, "at least one image"),
    "an empty group": ("/groups", group_form([IMAGES[:2], []], prompts=["a", "b"]), 422, "group 1 has 0"),
    "a group of one": ("/groups", group_form([IMAGES[:1]], prompts=["a"]), 422, "group 0 has 1"),
    "a group of more than a batch": (
        "/groups",
        group_form([[IMAGES[0]] * 9], prompts=["a"]),
        413,
        "at most 8 candidates",
    ),
    "more than a request may have": (
        "/groups",
        group_form([IMAGES[:2]] * 11, prompts=["a"] * 11),
        413,
        "got 22",
    ),
    "no prompts": ("/groups", group_form(GROUPS), 422, "group 0 has none"),
    "one prompt for two groups": ("/groups", group_form(GROUPS[:2], prompts=["a"]), 422, "each of the 2"),
    "no references": ("/groups", group_form(GROUPS, reward="tiny/image-image"), 422, "reference image"),
    "an image that is none": (
        "/groups",
        group_form([IMAGES[:2], [IMAGES[0], b"no image"]], prompts=["a", "b"]),
        422,
        "candidates[1][1]",
    ),
    "a truncated reference": (
        "/groups",
        {
            "candidates": [["a", "b"]],
            "references": [text_of(encoded(5, "JPEG", (200, 200))[:3000])],
            "reward": "tiny/caption",
        },
        422,
        "references[0]",
    ),
    "a long caption": (
        "/groups",
        {"candidates": [["a", "b" * 20_001]], "references": [text_of(IMAGES[0])], "reward": "tiny/caption"},
        413,
        "candidates[0][1]",
    ),
    "no base64": ("/groups", {"candidates": [["?", "?"]], "prompts": ["a"]}, 422, "candidates[0][0]"),
    "wrong keys": ("/groups", group_form(GROUPS, prompts=["a"] * 3, images=1), 422, "`images`"),
    "an unknown reward": ("/groups", group_form(GROUPS, reward="other"), 404, "'other'"),
    "an unknown reward by path": (
        "/groups/other/compute",
        flow_factory_form(IMAGES[:2], ["a"] * 2),
        404,
        "'other'",
    ),
    "a group of one in a trainer's form": (
        "/groups/tiny/compute",
        flow_factory_form(IMAGES[:3], ["a", "a", "b"]),
        422,
        "group 1 has 1",
    ),
    "a trainer's broken image": (
        "/groups/tiny/compute",
        flow_factory_form([*IMAGES[:2], b"no"], ["a"] * 3),
        422,
        "image[2]",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_request_is_told_and_takes_none_with_it(service: Any, exact: EncoderModel, what: str) -> None:
    path, body, status, message = WRONG[what]
    app = create_app(service(images=20))
    wrong, good = send(app, (path, body), ("/groups", group_form(GROUPS[:1], prompts=["a cat"])))
    assert wrong.status_code == status, wrong.text
    assert message in wrong.json()["error"]
    (scores,) = unisim_rank([pictures(GROUPS[0])], "a cat", exact).tolist()
    assert good.json()["rewards"] == [by_hand(scores)]


def test_candidates_count_as_images_that_wait(service: Any) -> None:
    app = create_app(service(images=4, waiting_images=4))
    answers = send(app, *[("/groups", group_form([IMAGES[:3]], prompts=["a"]))] * 2)
    assert sorted(answer.status_code for answer in answers) == [200, 429]
    metrics = get(app, "/metrics").text.splitlines()
    assert 'unisim_images_total{reward="tiny"} 3.0' in metrics
    assert "unisim_waiting_images 0.0" in metrics
