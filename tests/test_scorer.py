"""`UniSimScorer` on columns of every kind, against transformers' CLIP and against the metric."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from collection_files import BROKEN, encode, encoded, texts
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import PlainClip, photos, tensor_of
from partial_judge import PartialJudge
from PIL import Image
from torch import Tensor

from unisim_metrics import UniSimScore, UniSimScorer
from unisim_metrics.models import EncoderModel
from unisim_metrics.models.kept import as_model

COUNT = 7


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return photos(COUNT)


def scorer(model: Any, *arguments: Any, **settings: Any) -> UniSimScorer:
    return UniSimScorer(model, *arguments, **{"resample": "pil", **settings})


def close(scores: Any, expected: Any) -> bool:
    return np.allclose(np.asarray(scores, float), expected, atol=2e-6)


class TestScores:
    def test_images_against_a_column_of_texts(
        self, tiny_clip_dir: Path, plain: PlainClip, pictures: list[Image.Image]
    ) -> None:
        words = texts(COUNT)
        batch = {"image": [encode(picture) for picture in pictures], "words": words}
        expected = (plain.images(pictures) * plain.texts(words)).sum(1)
        scored = scorer(tiny_clip_dir, text_column="words", batch_size=3)(batch)
        assert close(scored["unisim_score"], expected)
        assert scored["unisim_score"].dtype == np.float32
        assert scored["unisim_error"] == [""] * COUNT

    def test_images_against_images(
        self, tiny_clip_dir: Path, plain: PlainClip, pictures: list[Image.Image]
    ) -> None:
        others = photos(COUNT, seed=5)
        scored = scorer(tiny_clip_dir, reference_column="original")({"image": pictures, "original": others})
        assert close(scored["unisim_score"], (plain.images(pictures) * plain.images(others)).sum(1))

    def test_texts_against_images(
        self, tiny_clip_dir: Path, plain: PlainClip, pictures: list[Image.Image]
    ) -> None:
        words = texts(COUNT)
        captions = scorer(tiny_clip_dir, "caption", text_column="words", keep_embedding=True)
        scored = captions({"image": pictures, "words": words})
        assert close(scored["unisim_score"], (plain.images(pictures) * plain.texts(words)).sum(1))
        assert close(scored["unisim_embedding"], plain.texts(words))

    def test_one_text_or_image_for_all(
        self, tiny_clip_dir: Path, plain: PlainClip, pictures: list[Image.Image]
    ) -> None:
        images = plain.images(pictures)
        by_text = scorer(tiny_clip_dir, text="red cat")({"image": pictures})
        assert close(by_text["unisim_score"], images @ plain.texts(["red cat"])[0])
        by_image = scorer(tiny_clip_dir, reference=pictures[2])({"image": pictures})
        assert close(by_image["unisim_score"], images @ images[2])

    @pytest.mark.parametrize("task", ["quality", "sharpness"])
    @pytest.mark.parametrize("method", ["naive", "clip-iqa"])
    def test_images_alone(
        self, tiny_clip_dir: Path, plain: PlainClip, pictures: list[Image.Image], task: Any, method: Any
    ) -> None:
        scored = scorer(tiny_clip_dir, task, method=method)({"image": pictures})
        assert close(scored["unisim_score"], plain.attribute(pictures, task, method))

    def test_embeddings_are_those_of_the_images(
        self, tiny_clip_dir: Path, plain: PlainClip, pictures: list[Image.Image]
    ) -> None:
        batch = {"image": [*pictures[:2], b"", *pictures[2:]]}
        vectors = scorer(tiny_clip_dir, keep_embedding=True, batch_size=2)(batch)["unisim_embedding"]
        assert vectors.shape == (COUNT + 1, 16) and vectors.dtype == np.float32
        assert np.isnan(vectors[2]).all()
        assert close(np.delete(vectors, 2, 0), plain.images(pictures))

    def test_embeddings_have_their_width_where_nothing_can_be_read(self, tiny_clip_dir: Path) -> None:
        embedding = scorer(tiny_clip_dir, keep_embedding=True)
        assert embedding({"image": [BROKEN]})["unisim_embedding"].shape == (1, 16)
        assert embedding({"image": []})["unisim_embedding"].shape == (0, 16)

    @pytest.mark.parametrize("count", [0, 1, 2, 9])
    def test_any_number_of_rows(self, tiny_model: EncoderModel, count: int) -> None:
        files = encoded(count)
        scored = UniSimScorer(tiny_model, batch_size=4)({"image": files})
        assert len(scored["unisim_score"]) == len(scored["unisim_error"]) == count
        if count:
            metric = UniSimScore(tiny_model, reduction="none")
            metric.update([tensor_of(Image.open(io.BytesIO(file))) for file in files])
            assert close(scored["unisim_score"], metric.compute().numpy())

    def test_a_judge_with_scores_of_its_own(self) -> None:
        judge = PartialJudge()
        images = photos(3)
        rated = UniSimScorer(judge)({"image": [encode(image) for image in images] + [BROKEN]})
        assert close(rated["unisim_score"][:3], UniSimScore(judge, reduction="none")(images).numpy())
        assert np.isnan(rated["unisim_score"][3])

    def test_a_judge_with_a_space_of_its_own(self) -> None:
        judge = PartialJudge()
        images, others = photos(3), photos(3, seed=1)
        scored = UniSimScorer(judge, reference_column="other", keep_embedding=True)(
            {"image": [encode(image) for image in images], "other": others}
        )
        expected = UniSimScore(judge, reduction="none")(images, others).numpy()
        assert close(scored["unisim_score"], expected)
        assert judge.encoded == 12  # six for each: the vectors cost no pass of their own


class TestCells:
    def test_every_kind_of_an_image_gets_the_same_score(
        self, tiny_clip_dir: Path, pictures: list[Image.Image], tmp_path: Path
    ) -> None:
        picture = pictures[0]
        path = tmp_path / "a.png"
        picture.save(path)
        data = path.read_bytes()
        cells = [
            *(picture, data, bytearray(data), memoryview(data), path, str(path), path.as_uri()),
            *(
                {"bytes": data, "path": None},
                {"bytes": data, "path": "x"},
                {"bytes": None, "path": str(path)},
            ),
            *(np.array(picture), tensor_of(picture)),
        ]
        scored = scorer(tiny_clip_dir)({"image": cells})
        assert scored["unisim_error"] == [""] * len(cells)
        assert np.ptp(scored["unisim_score"]) < 1e-6

    @pytest.mark.parametrize("wrap", [list, np.array, torch.stack, tuple, pd.Series])
    def test_every_kind_of_column(self, tiny_model: EncoderModel, wrap: Any) -> None:
        tensors = [tensor_of(photo.resize((40, 40))) for photo in photos(3)]
        cells: Any = tensors
        if wrap is np.array:
            cells = [tensor.permute(1, 2, 0).numpy() for tensor in tensors]
        elif wrap is pd.Series:
            cells = [encode(photo.resize((40, 40))) for photo in photos(3)]
        expected = UniSimScorer(tiny_model)({"image": tensors})["unisim_score"]
        assert close(UniSimScorer(tiny_model)({"image": wrap(cells)})["unisim_score"], expected)

    def test_grey_and_float_images(self, tiny_model: EncoderModel) -> None:
        grey = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
        cells = [grey, np.stack([grey] * 3, -1), (grey / 255).astype(np.float32)]
        scored = UniSimScorer(tiny_model)({"image": cells})
        assert scored["unisim_error"] == [""] * 3
        assert np.ptp(scored["unisim_score"]) < 2e-3  # float pixels are resized in floats

    @pytest.mark.parametrize(
        ("cell", "reason"),
        [
            (None, "Column `image` must hold images .* but got nothing"),
            (3, "but got builtins.int"),
            (BROKEN, "could not be read"),
            (b"", "could not be read"),
            ({"bytes": BROKEN, "path": "x/7.jpg"}, "'x/7.jpg' could not be read"),
            ({"bytes": None, "path": None}, "neither 'bytes' nor 'path'"),
            ({}, "neither 'bytes' nor 'path'"),
            ("no/such.png", "'no/such.png' could not be read: No such file"),
            ("file:///no/such.png", "'file:///no/such.png' could not be read"),
            ("memory://no-such.png", "'memory://no-such.png' could not be read"),
            ("reference://x", "must hold URLs of"),
            ("simplecache::file:///etc/hostname", "must hold URLs of"),
            ("file:///no/such.png::zip://x", "and no chain of them"),
            (np.zeros((2, 8, 8, 3), np.uint8), "one image a row"),
            (np.zeros((1, 8, 8, 3), np.uint8), "one image a row"),
            (np.full((8, 8, 3), 7.0), "0–255 or float pixels in 0–1"),
            (np.zeros((8, 8, 5), np.uint8), "channels"),
            (torch.full((3, 8, 8), float("nan")), "finite pixels"),
        ],
    )
    def test_a_bad_image_costs_its_own_row(self, tiny_model: EncoderModel, cell: Any, reason: str) -> None:
        good = photos(3)
        expected = UniSimScorer(tiny_model)({"image": good})["unisim_score"]
        scored = UniSimScorer(tiny_model)({"image": [*good[:1], cell, *good[1:]]})
        assert np.isnan(scored["unisim_score"][1])
        assert close(np.delete(scored["unisim_score"], 1), expected)
        assert [bool(error) for error in scored["unisim_error"]] == [False, True, False, False]
        with pytest.raises(AssertionError, match=reason):
            raise AssertionError(scored["unisim_error"][1])

    @pytest.mark.parametrize(
        ("cell", "reason"),
        [(None, "but got nothing"), (" ", "blank"), (b"\xff", "UTF-8"), (4.0, "builtins.float")],
    )
    def test_a_bad_text_costs_its_own_row(self, tiny_model: EncoderModel, cell: Any, reason: str) -> None:
        batch = {"image": photos(2), "words": [cell, b"a red cat"]}
        scored = UniSimScorer(tiny_model, text_column="words")(batch)
        assert reason in scored["unisim_error"][0] and scored["unisim_error"][1] == ""
        assert np.isnan(scored["unisim_score"]).tolist() == [True, False]

    def test_a_text_that_the_model_refuses_costs_its_own_row(self, tiny_clip_dir: Path) -> None:
        words = ["a dog", "a dog " * 90, "red cat"]
        scored = UniSimScorer(tiny_clip_dir, text_column="words", truncate=False)(
            {"image": photos(3), "words": words}
        )
        assert np.isnan(scored["unisim_score"]).tolist() == [False, True, False]
        assert "context" in scored["unisim_error"][1]

    @settings(max_examples=25, deadline=None)
    @given(bad=st.lists(st.booleans(), max_size=12), size=st.integers(1, 5))
    def test_neighbours_do_not_matter(self, exact: EncoderModel, bad: list[bool], size: int) -> None:
        files = encoded(len(bad), broken=[place for place, is_bad in enumerate(bad) if is_bad])
        scored = UniSimScorer(exact, batch_size=size)({"image": files})
        alone = [UniSimScorer(exact)({"image": [file]})["unisim_score"][0] for file in files]
        np.testing.assert_array_equal(scored["unisim_score"], np.array(alone, np.float32))
        assert [bool(error) for error in scored["unisim_error"]] == bad


class TestColumns:
    def test_columns_of_a_dict_come_back(self, tiny_model: EncoderModel) -> None:
        batch = {"id": [4, 5], "image": photos(2)}
        assert list(UniSimScorer(tiny_model)(batch)) == ["id", "image", "unisim_score", "unisim_error"]
        some = UniSimScorer(tiny_model, keep_columns=["id"])(batch)
        assert list(some) == ["id", "unisim_score", "unisim_error"]
        assert list(UniSimScorer(tiny_model, keep_columns=False)(batch)) == ["unisim_score", "unisim_error"]
        assert list(batch) == ["id", "image"]

    def test_one_row_gives_single_values(self, tiny_model: EncoderModel) -> None:
        (file,) = encoded(1)
        scored = UniSimScorer(tiny_model, keep_embedding=True)({"image": file, "id": 3})
        assert scored["id"] == 3 and scored["image"] is file and scored["unisim_error"] == ""
        assert scored["unisim_embedding"].shape == (16,)
        expected = UniSimScorer(tiny_model)({"image": [file]})["unisim_score"][0]
        assert scored["unisim_score"] == expected

    def test_batches_are_scored_in_their_order(self, tiny_model: EncoderModel) -> None:
        files = encoded(9, broken=[4])
        batches = [{"image": files[:0]}, {"image": files[:5]}, {"image": files[5:5]}, {"image": files[5:]}]
        batches.append({"image": []})
        streamed = list(UniSimScorer(tiny_model, batch_size=2).stream(batches))
        assert [len(result["unisim_score"]) for result in streamed] == [0, 5, 0, 4, 0]
        whole = UniSimScorer(tiny_model)({"image": files})["unisim_score"]
        assert np.allclose(
            np.concatenate([r["unisim_score"] for r in streamed]), whole, atol=1e-6, equal_nan=True
        )


class TestConfiguration:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"text": "a", "text_column": "b"}, "`text_column` and `text` must not be given together"),
            ({"text": "a", "reference": "b"}, "`text` and `reference` must not be given together"),
            ({"text": " "}, "blank"),
            ({"task": "odd-one-out"}, "odd-one-out"),
            ({"task": "image-image"}, "needs `reference_column` or `reference`, but got images alone"),
            ({"task": "caption"}, "needs `text_column` or `text`"),
            ({"task": "quality", "text": "a"}, "needs the images alone, but got `text`"),
            ({"task": "beauty"}, "must be one of"),
            ({"method": "best"}, "must be one of"),
            ({"prompts": "mine"}, "must be a `unisim_metrics.Prompts`"),
            ({"batch_size": 0}, "`batch_size` must be at least 1"),
            ({"workers": -1}, "`workers` must be at least 0"),
            ({"keep_columns": "id"}, "must be a list of names"),
            ({"colour": "red"}, r"or those of `load_model`, but got \['colour'\]"),
            (
                {"model_name_or_path": "lpips-alex"},
                "must be one that 'lpips-alex' answers, but got 'quality'",
            ),
        ],
    )
    def test_wrong_arguments_raise_at_once(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            UniSimScorer(**arguments)

    def test_what_the_model_cannot_answer_raises(self) -> None:
        with pytest.raises(ValueError, match="answers, but got 'contrast'"):
            UniSimScorer(PartialJudge(), "contrast")({"image": photos(1)})
        with pytest.raises(ValueError, match="`keep_embedding` must be False for model 'partial'"):
            UniSimScorer(PartialJudge(), keep_embedding=True)({"image": photos(1)})

    def test_wrong_columns_raise(self, tiny_model: EncoderModel) -> None:
        words = UniSimScorer(tiny_model, text_column="words")
        with pytest.raises(ValueError, match="must hold a column 'words', but got 'image', 'text'"):
            words({"image": photos(1), "text": ["a"]})
        with pytest.raises(ValueError, match="must have the same length"):
            words({"image": photos(2), "words": ["a"]})
        with pytest.raises(ValueError, match="must name columns of the batch"):
            UniSimScorer(tiny_model, keep_columns=["id"])({"image": photos(1)})

    def test_one_image_for_all_that_cannot_be_read_raises(self, tiny_model: EncoderModel) -> None:
        with pytest.raises(ValueError, match=r"'gone\.png' could not be read"):
            UniSimScorer(tiny_model, reference=Path("gone.png"))({"image": photos(1)})

    def test_the_signature_is_the_metric_s(self, tiny_model: EncoderModel) -> None:
        metric = UniSimScore(tiny_model, task="quality", method="clip-iqa")
        assert UniSimScorer(tiny_model, method="clip-iqa").signature == metric.signature


class TestMemory:
    class Small(EncoderModel):
        """A model on a device that holds a few images at a time."""

        def __init__(self, model: EncoderModel, room: int, error: BaseException) -> None:
            super().__init__(model.backbone, "small", model.preprocessing)
            self.inner, self.room, self.error = model, room, error
            self.sizes: list[int] = []

        def tokenize(self, texts: Any) -> Any:
            return self.inner.tokenize(texts)

        def encode_tokens(self, tokens: Any) -> Tensor:
            return self.inner.encode_tokens(tokens)

        def encode_pixels(self, pixels: Tensor) -> Tensor:
            self.sizes.append(len(pixels))
            if len(pixels) > self.room:
                raise self.error
            return self.inner.encode_pixels(pixels)

    @pytest.mark.parametrize(
        "error",
        [
            torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
            MemoryError(),
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        ],
    )
    def test_a_batch_that_does_not_fit_is_halved_once(
        self, tiny_model: EncoderModel, error: BaseException
    ) -> None:
        small = self.Small(tiny_model, 3, error)
        files = encoded(20)
        expected = UniSimScorer(tiny_model)({"image": files})["unisim_score"]
        scoring = UniSimScorer(small, batch_size=10)
        assert close(scoring({"image": files})["unisim_score"], expected)
        assert [size for size in small.sizes if size > 3] == [10, 5]
        small.sizes.clear()
        scoring({"image": files})
        assert max(small.sizes) <= 3

    def test_an_image_that_does_not_fit_alone_is_told(self, tiny_model: EncoderModel) -> None:
        small = self.Small(tiny_model, 0, MemoryError("no room"))
        scored = UniSimScorer(small)({"image": encoded(2)})
        assert np.isnan(scored["unisim_score"]).all()
        assert "does not fit the device's memory" in scored["unisim_error"][0]

    def test_what_is_no_row_s_fault_raises(self, tiny_model: EncoderModel) -> None:
        broken = self.Small(tiny_model, 0, RuntimeError("device-side assert triggered"))
        with pytest.raises(RuntimeError, match="device-side assert"):
            UniSimScorer(broken)({"image": encoded(2)})


class TestProcesses:
    def test_a_pickle_is_its_arguments(self, tiny_clip_dir: Path) -> None:
        fresh = scorer(tiny_clip_dir, text="a cat", dtype=torch.float64)
        before = pickle.dumps(fresh)
        expected = fresh({"image": encoded(2)})
        assert pickle.dumps(fresh) == before
        again = pickle.loads(before)
        np.testing.assert_array_equal(again({"image": encoded(2)})["unisim_score"], expected["unisim_score"])

    def test_the_model_is_loaded_once(self, tiny_clip_dir: Path) -> None:
        scorers = [UniSimScorer(tiny_clip_dir, task) for task in ("quality", "contrast")] * 3
        threads = [threading.Thread(target=each, args=({"image": encoded(2)},)) for each in scorers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(each.model) for each in scorers}) == 1
        assert scorers[0].model is as_model(tiny_clip_dir, "cpu")
        assert UniSimScorer(tiny_clip_dir, resample="pil").model is not scorers[0].model

    def test_datasets_fingerprint_is_the_same_in_every_process(self, tiny_clip_dir: Path) -> None:
        hasher = pytest.importorskip("datasets.fingerprint").Hasher
        script = (
            "import sys; from datasets.fingerprint import Hasher; from unisim_metrics import UniSimScorer;"
            "print(Hasher.hash(UniSimScorer(sys.argv[1], text_column='t', resample='pil', truncate=False)))"
        )
        made = scorer(str(tiny_clip_dir), text_column="t", truncate=False)
        here = hasher.hash(made)
        there = subprocess.run(
            [sys.executable, "-c", script, str(tiny_clip_dir)], capture_output=True, text=True, check=True
        )
        assert there.stdout.strip() == here
        made({"image": encoded(1), "t": ["a"]})
        assert hasher.hash(made) == here
        assert hasher.hash(scorer(str(tiny_clip_dir), text_column="u", truncate=False)) != here
