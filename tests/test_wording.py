"""The paper's wording of quality and attributes, on every face: scores by hand, and what the signature says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest
import torch
from oracle import PlainClip, photos
from tiny_training import write_images

from unisim_metrics import UniSimLoss, UniSimRanking, UniSimScore, evaluate_path, load_model
from unisim_metrics.benchmark.samples import Sample
from unisim_metrics.cli.app import app
from unisim_metrics.functional import unisim_rank, unisim_score
from unisim_metrics.integrations.rewards import PointwiseReward
from unisim_metrics.prompts import PAPER_PROMPTS
from unisim_metrics.tasks import Attribute
from unisim_metrics.training.clip.batches import TextTable, TripletBatches
from unisim_metrics.training.recipe import read_recipe
from unisim_metrics.training.stream import Pool, TripletStream

PHOTOS = photos(4, seed=7)
TASKS: tuple[Attribute, ...] = ("quality", "colorfulness", "sharpness")


def by_hand(plain: PlainClip, task: Attribute) -> np.ndarray:
    scores: np.ndarray = plain.images(PHOTOS) @ plain.texts([PAPER_PROMPTS[task].naive])[0]
    return scores


@pytest.mark.parametrize("task", TASKS)
def test_scores_of_every_face(task: Attribute, plain: PlainClip, tiny_model: Any) -> None:
    expected = by_hand(plain, task)
    metric = UniSimScore(tiny_model, task, prompts="paper", reduction="none")
    metric.update(PHOTOS)
    pairs = [PHOTOS[:2], PHOTOS[2:]]
    ranking = UniSimRanking(tiny_model, task, prompts="paper")
    ranking.update(pairs)
    module = evaluate.load(evaluate_path(), task)
    reward = PointwiseReward(tiny_model, {task: 1.0}, prompts="paper")
    faces: dict[str, Any] = {
        "UniSimScore": metric.compute(),
        "unisim_score": unisim_score(PHOTOS, None, tiny_model, task, prompts="paper", reduction="none"),
        "unisim_rank": unisim_rank(pairs, None, tiny_model, task, prompts="paper").flatten(),
        "compare": tiny_model.compare(None, pairs, task=task, prompts="paper").flatten(),
        "evaluate": module.compute(predictions=PHOTOS, model=tiny_model, prompts="paper")["scores"],
        "rewards": reward(PHOTOS, ["a dog"] * 4)[0],
    }
    for face, scores in faces.items():
        np.testing.assert_allclose(scores, expected, atol=2e-6, err_msg=face)
    loss = UniSimLoss(tiny_model, task, prompts="paper")(torch.stack([pixels(photo) for photo in PHOTOS]))
    assert loss.item() == pytest.approx(1 - expected_of_pixels(plain, task).mean(), abs=1e-5)
    assert f"|task:{task}/naive/paper|" in metric.signature
    assert ranking.signature == metric.signature == reward.signatures[task]


def pixels(photo: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(photo.resize((32, 32)))).permute(2, 0, 1) / 255


def expected_of_pixels(plain: PlainClip, task: Attribute) -> np.ndarray:
    scores: np.ndarray = (
        plain.images([photo.resize((32, 32)) for photo in PHOTOS])
        @ plain.texts([PAPER_PROMPTS[task].naive])[0]
    )
    return scores


@pytest.mark.parametrize("command", ["score", "rank"])
def test_commands(
    command: str, capsys: pytest.CaptureFixture[str], plain: PlainClip, tiny_clip_dir: Path, tmp_path: Path
) -> None:
    for index, photo in enumerate(PHOTOS):
        photo.save(tmp_path / f"{index}.png")
    arguments = [command, str(tmp_path), "-m", str(tiny_clip_dir), "--task", "sharpness", "--json"]
    arguments += ["--resample", "pil"]
    with pytest.raises(SystemExit):
        app([*arguments, "--wording", "paper"])
    result = json.loads(capsys.readouterr().out)
    scores = sorted(row["score"] for row in result["results"])
    assert scores == pytest.approx(sorted(by_hand(plain, "sharpness")), abs=1e-5)
    assert "|task:sharpness/naive/paper|" in result["signature"]
    with pytest.raises(SystemExit) as end:
        app([*arguments, "--wording", "mine"])
    assert end.value.code == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "--wording must be one of ('authors', 'paper'), but got 'mine'" in told


def test_training_triplets(tmp_path: Path, tiny_clip_dir: Path) -> None:
    first, second = write_images(tmp_path, count=2)
    pool = Pool("pairs", "quality", [Sample(None, (first, second), 0)] * 3)
    own = Pool("own", "quality", [Sample("a tidy photo", (first, second), 0)])
    for wording, text in (("authors", "A high-quality photo."), ("paper", "A high quality photo.")):
        stream = TripletStream([pool, own], 4)
        table = TextTable(stream, 2, wording)
        assert text in table.texts
        preprocessing = load_model(tiny_clip_dir).preprocessing
        batch = TripletBatches(stream, table, preprocessing)[0]
        rows = [stream.step(0)["quality"][index].reference or text for index in range(4)]
        assert batch.tasks["quality"].references.tolist() == [table.rows[row] for row in rows]


def test_recipes_name_the_wording() -> None:
    assert read_recipe("unisim-vit-b-32").prompts == "authors"
    assert read_recipe("unisim-vit-b-32", ['prompts="paper"']).prompts == "paper"
    with pytest.raises(ValueError, match=r"prompts must be one of \('authors', 'paper'\), but got 'mine'"):
        read_recipe("unisim-vit-b-32", ["prompts=mine"])
