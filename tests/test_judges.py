"""Models that answer some tasks only, each in a way of its own: every face asks what they can, and refuses the rest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from benchmark_runs import draw, write_distinct_sets
from oracle import TEXTS, photos, tensor_of
from partial_judge import PartialJudge, corners, likeness, rating
from PIL import Image
from typer.testing import CliRunner

from unisim_metrics import UniSimLoss, UniSimRanking, UniSimScore, list_models
from unisim_metrics.benchmark import run
from unisim_metrics.benchmark.results.files import read_meta
from unisim_metrics.cli.app import app
from unisim_metrics.cli.files import FileModel
from unisim_metrics.functional import unisim_rank, unisim_score
from unisim_metrics.integrations.rewards import GroupwiseReward, PointwiseReward
from unisim_metrics.models import REGISTRY, EncoderModel, OpenCLIPEncoder, load_model
from unisim_metrics.models.answering import Way
from unisim_metrics.models.judges.blip import BLIP
from unisim_metrics.models.judges.compare2score import Compare2Score
from unisim_metrics.models.judges.dreamsim import DreamSim
from unisim_metrics.models.judges.hpsv3 import HPSv3
from unisim_metrics.models.judges.imagereward import ImageReward
from unisim_metrics.models.judges.liqe import LIQE
from unisim_metrics.models.judges.pac_s import PACSEncoder
from unisim_metrics.models.judges.quality_words import QualityWords
from unisim_metrics.tasks import Task

PHOTOS, OTHERS = photos(6), photos(6, seed=1)
CANNOT = (
    r"must be one of \('image-image', .*'odd-one-out'\), which model 'partial' answers, but got 'caption'"
)


@pytest.fixture
def judge() -> PartialJudge:
    return PartialJudge()


def scores(judge: Any, *inputs: Any, **settings: Any) -> list[float]:
    return UniSimScore(judge, reduction="none", **settings)(*inputs).tolist()


class TestScores:
    def test_a_space_of_its_own(self, judge: PartialJudge) -> None:
        expected = [corners(one) @ corners(other) for one, other in zip(PHOTOS, OTHERS, strict=True)]
        np.testing.assert_allclose(scores(judge, PHOTOS, OTHERS), expected, atol=1e-5)
        with pytest.raises(ValueError, match=r"`view` must be one of \('main', 'corners'\), but got 'other'"):
            judge.embed_images(PHOTOS, view="other")

    def test_a_score_of_the_pair(self, judge: PartialJudge) -> None:
        expected = [likeness(image, text) for image, text in zip(PHOTOS, TEXTS, strict=True)]
        np.testing.assert_allclose(scores(judge, PHOTOS, TEXTS), expected, rtol=1e-5)
        assert unisim_score(PHOTOS, TEXTS, judge).item() == pytest.approx(np.mean(expected), rel=1e-5)
        one_text = [likeness(image, "a cat") for image in PHOTOS]
        np.testing.assert_allclose(scores(judge, PHOTOS, "a cat"), one_text, rtol=1e-5)

    def test_a_rating(self, judge: PartialJudge) -> None:
        np.testing.assert_allclose(scores(judge, PHOTOS), [rating(image) for image in PHOTOS], rtol=1e-5)
        with pytest.raises(
            ValueError, match="`method` must be 'naive' for task 'quality' of model 'partial'"
        ):
            scores(judge, PHOTOS, method="clip-iqa")
        with pytest.raises(ValueError, match="`prompts` must be None for task 'quality' of model 'partial'"):
            scores(judge, PHOTOS, prompts="paper")

    def test_an_attribute_by_its_prompts(self, judge: PartialJudge) -> None:
        bright = [likeness(image, "A bright photo.") for image in PHOTOS]
        np.testing.assert_allclose(scores(judge, PHOTOS, task="brightness"), bright, rtol=1e-5)
        expected = [
            1 / (1 + np.exp(likeness(image, "Dark photo.") - likeness(image, "Bright photo.")))
            for image in PHOTOS
        ]
        found = scores(judge, PHOTOS, task="brightness", method="clip-iqa")
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    def test_neighbours_do_not_matter(self, judge: PartialJudge) -> None:
        alone = [scores(judge, [image])[0] for image in PHOTOS]
        assert scores(judge, PHOTOS) == alone

    def test_gradients_reach_the_pixels(self) -> None:
        judge = PartialJudge("bicubic")
        pixels = torch.rand(2, 3, 20, 20, requires_grad=True)
        for target in (TEXTS[:2], None, torch.rand(2, 3, 20, 20)):
            UniSimLoss(judge)(pixels, target).backward()
            assert pixels.grad is not None and bool(pixels.grad.any())
            pixels.grad = None
        assert judge.backbone.factor.grad is None


class TestRanking:
    def test_groups_of_several_sizes(self, judge: PartialJudge) -> None:
        groups = [PHOTOS[:2], PHOTOS[2:5]]
        by_text = unisim_rank(groups, TEXTS[:2], judge)
        by_quality = unisim_rank(groups, None, judge)
        by_image = unisim_rank(groups, OTHERS[:2], judge)
        for row, group in enumerate(groups):
            place = slice(len(group))
            texts = [likeness(image, TEXTS[row]) for image in group]
            np.testing.assert_allclose(by_text[row, place], texts, rtol=1e-5)
            np.testing.assert_allclose(by_quality[row, place], [rating(image) for image in group], rtol=1e-5)
            images = [corners(image) @ corners(OTHERS[row]) for image in group]
            np.testing.assert_allclose(by_image[row, place], images, atol=1e-5)
        assert by_text[0, 2].isnan()

    def test_the_odd_one_of_embeddings(self, judge: PartialJudge) -> None:
        vectors = [corners(image) for image in PHOTOS[:3]]
        expected = [vectors[1] @ vectors[2], vectors[2] @ vectors[0], vectors[0] @ vectors[1]]
        found = unisim_rank([PHOTOS[:3]], None, judge, task="odd-one-out")
        np.testing.assert_allclose(found[0], expected, atol=1e-5)

    def test_the_odd_one_of_pair_scores(self) -> None:
        class Pairs(PartialJudge):
            tasks: ClassVar[Mapping[Task, Way]] = {"image-image": "scores", "odd-one-out": "scores"}

            def score(self, preds: Any, target: Any, task: Any, *_: Any) -> torch.Tensor:
                assert task == "image-image"
                pairs = zip(preds, target, strict=True)
                return torch.tensor([float(a.float().mean() * b.float().mean()) for a, b in pairs])

        images = [tensor_of(image) for image in PHOTOS[:3]]
        means = [float(image.float().mean()) for image in images]
        expected = [means[1] * means[2], means[2] * means[0], means[0] * means[1]]
        found = unisim_rank([images], None, Pairs(), task="odd-one-out")
        np.testing.assert_allclose(found[0], expected, rtol=1e-5)

    def test_tensors(self, judge: PartialJudge) -> None:
        candidates = torch.randint(0, 256, (2, 3, 3, 20, 20), dtype=torch.uint8)
        ranking = UniSimRanking(judge)
        ranking.update(candidates, candidates[:, 0])
        assert ranking.compute()["win_rate"][0] == 1
        listed = unisim_rank([list(group) for group in candidates], ["a", "b c"], judge)
        assert torch.equal(unisim_rank(candidates, ["a", "b c"], judge), listed)


class TestWhatItCannot:
    def test_is_refused_before_anything_runs(self, judge: PartialJudge) -> None:
        with pytest.raises(ValueError, match=CANNOT):
            UniSimScore(judge, "caption")
        with pytest.raises(ValueError, match=CANNOT):
            UniSimRanking(judge, "caption")
        with pytest.raises(ValueError, match=CANNOT):
            UniSimLoss(judge, "caption")
        for face in (UniSimScore(judge), UniSimLoss(judge)):
            with pytest.raises(ValueError, match=CANNOT):
                face(TEXTS, PHOTOS)
        for function in (unisim_score, unisim_rank):
            candidates = [TEXTS[:2]] if function is unisim_rank else TEXTS[:1]
            with pytest.raises(ValueError, match=CANNOT):
                function(candidates, PHOTOS[:1], judge)
        for kind in (PointwiseReward, GroupwiseReward):
            with pytest.raises(ValueError, match=r"Argument `tasks` must be one of .* but got 'sharpness'"):
                kind(judge, {"quality": 1.0, "sharpness": 1.0})
        assert judge.encoded == 0

    def test_every_registered_model_has_tasks(self) -> None:
        assert list_models("quality") == list_models("iqa")
        assert set(list_models("caption")) <= set(list_models())
        with pytest.raises(ValueError, match="`task` must be one of"):
            list_models("beauty")  # type: ignore[arg-type]
        for entry in REGISTRY.values():
            assert entry.tasks and (entry.name in list_models("quality")) == ("quality" in entry.tasks)


def test_rewards(judge: PartialJudge) -> None:
    tasks: Any = {"image-text": 1.0, "quality": 0.5}
    rewards, info = PointwiseReward(judge, tasks)(PHOTOS, TEXTS)
    expected = [
        likeness(image, text) + 0.5 * rating(image) for image, text in zip(PHOTOS, TEXTS, strict=True)
    ]
    np.testing.assert_allclose(rewards, expected, rtol=1e-4)
    assert info["scores"].keys() == {"image-text", "quality"}
    rewards, _ = GroupwiseReward(judge, "quality")(PHOTOS[:3], ["a"] * 3)
    order = np.argsort([rating(image) for image in PHOTOS[:3]])
    assert rewards[order.tolist()].tolist() == [0, 0.5, 1]


def test_files_of_the_command_line(judge: PartialJudge, tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path, photo in zip(paths, PHOTOS, strict=False):
        photo.save(path)
    by_quality = FileModel(judge, 2, "quality")
    by_quality.encode(paths)
    np.testing.assert_allclose(scores(by_quality, paths), [rating(photo) for photo in PHOTOS[:3]], rtol=1e-5)
    alike = FileModel(judge, 2, "image-image")
    alike.encode(paths)
    np.testing.assert_allclose(scores(alike, paths, paths), [1, 1, 1], atol=1e-5)
    assert judge.encoded == 3
    with pytest.raises(ValueError, match=CANNOT):
        FileModel(judge, 2, "caption")


def test_models_by_task() -> None:
    result = CliRunner().invoke(app, ["models", "--task", "iqa", "--csv"])
    assert result.exit_code == 0, result.output
    assert [line.split(",")[0] for line in result.stdout.splitlines()[1:]] == list_models("quality")


class TestBenchmark:
    SETS = ("nights", "hpdv2", "agiqa-3k-quality", "cifar-100-ooo", "sice-brightness", "roxford")

    def test_each_set_in_its_way(self, judge: PartialJudge, tmp_path: Path) -> None:
        root = write_distinct_sets(tmp_path / "root")
        found = run(judge, self.SETS, root, n=10, results=tmp_path / "results", cache=tmp_path / "cache")
        assert list(found) == list(self.SETS)

        def choices(name: str) -> list[int]:
            choices = found[name].outcome().choices
            assert choices is not None
            return choices.tolist()

        def opened(item: Any) -> Any:
            return Image.open(item).convert("RGB") if isinstance(item, Path) else item

        nights, hpdv2, agiqa = (
            [[opened(sample.reference), *map(opened, sample.alternatives)] for sample in draw(name, root, 10)]
            for name in self.SETS[:3]
        )
        assert choices("nights") == [
            int(corners(reference) @ corners(one) < corners(reference) @ corners(other))
            for reference, one, other in nights
        ]
        assert choices("hpdv2") == [
            int(likeness(one, text) < likeness(other, text)) for text, one, other in hpdv2
        ]
        assert choices("agiqa-3k-quality") == [int(rating(one) < rating(other)) for _, one, other in agiqa]
        assert found["sice-brightness"].outcome().signature.count("brightness") == 1
        # Each image once in the one space; the embeddings are kept for the next run.
        assert judge.encoded == sum(result.run.images_encoded for result in found.values()) > 0
        [folder] = (tmp_path / "results").glob("partial/*")
        unanswered = read_meta(folder).unanswered
        assert set(unanswered) == {"caption", "colorfulness", "contrast", "sharpness"}
        assert unanswered["caption"].startswith("'partial' answers image-image, image-text, quality")
        before = judge.encoded
        run(
            judge,
            self.SETS,
            root,
            n=10,
            overwrite="always",
            results=tmp_path / "results",
            cache=tmp_path / "cache",
        )
        assert judge.encoded == before

    def test_what_it_cannot_answer_is_left_out(self, judge: PartialJudge, tmp_path: Path) -> None:
        root = write_distinct_sets(tmp_path / "root")
        with pytest.raises(
            ValueError, match=r"must not name \['koniq-contrast'\] for this model: 'partial' answers"
        ):
            run(judge, ["nights", "koniq-contrast"], root)
        with pytest.warns(UserWarning, match=r"Left out: .*koniq-contrast.*'partial' answers image-image"):
            found = run(judge, None, root, n=4, cache=False)
        assert "nights" in found and "koniq-contrast" not in found


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("hpsv2", OpenCLIPEncoder),
        ("pac-s-vit-b-32", PACSEncoder),
        ("blip-vit-l-16", BLIP),
        ("imagereward", ImageReward),
        ("hpsv3", HPSv3),
        ("dreamsim-vit-b-32", DreamSim),
        ("liqe", LIQE),
        ("deqa-score", QualityWords),
        ("compare2score", Compare2Score),
        ("one-align", QualityWords),
    ],
)
def test_the_registry_tells_what_judges_answer(name: str, kind: Any) -> None:
    assert set(REGISTRY[name].tasks) == set(kind.tasks)


def test_other_models_answer_all(tiny_model: EncoderModel) -> None:
    assert load_model(tiny_model) is tiny_model
    assert set(tiny_model.tasks.values()) == {"embeddings"}
