"""The encoders give what their libraries give, whatever the batch, and keep modes, gradients and weights in order."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_clip, write_tokenizer
from PIL import Image
from torch import Tensor, nn

from unisim_metrics.images import Preprocessing, preprocess
from unisim_metrics.models import (
    CLIPEncoder,
    CustomEncoder,
    EncoderModel,
    OpenCLIPEncoder,
    PerceptualModel,
    load_model,
)

TEXTS = [
    "a photo of a dog",
    "red",
    "a high quality image of a cat, and of another",
    "dark",
    "a",
    "bright red dog",
]
LONG_TEXT = "a photo of a cat " * 40


def photos(number: int = 5, seed: int = 0) -> list[Image.Image]:
    generator = np.random.default_rng(seed)
    sizes = [(40, 50), (64, 33), (32, 32), (90, 41), (35, 70)]
    return [
        Image.fromarray(generator.integers(0, 256, (*sizes[index % 5], 3), dtype=np.uint8))
        for index in range(number)
    ]


def unit(output: Any) -> Tensor:
    return nn.functional.normalize(getattr(output, "pooler_output", output), dim=-1)


class TestCLIP:
    def test_embeddings_are_those_of_transformers(
        self, tiny_clip_dir: Path, tiny_model: EncoderModel
    ) -> None:
        from pillow_processors import CLIPImageProcessorPil
        from transformers import AutoTokenizer, CLIPModel

        plain = CLIPModel.from_pretrained(tiny_clip_dir).eval()
        processor = CLIPImageProcessorPil.from_pretrained(tiny_clip_dir)
        inputs = AutoTokenizer.from_pretrained(tiny_clip_dir)(
            [*TEXTS, LONG_TEXT], padding="max_length", truncation=True, max_length=77, return_tensors="pt"
        )
        with torch.no_grad():
            images = unit(plain.get_image_features(**processor(photos(), return_tensors="pt")))
            texts = unit(plain.get_text_features(**inputs))
        assert (tiny_model.embed_images(photos()) - images).abs().max() <= 1e-6
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert (tiny_model.embed_texts([*TEXTS, LONG_TEXT]) - texts).abs().max() <= 1e-6

    def test_compare(self, tiny_model: EncoderModel) -> None:
        images = torch.rand(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        scores = tiny_model.compare(["red", "dark"], images)
        texts = tiny_model.embed_texts(["red", "dark"])
        expected = (tiny_model.embed_images(images.flatten(0, 1)).view(2, 3, 16) * texts[:, None]).sum(-1)
        assert (scores - expected).abs().max() <= 1e-6

    def test_trimming_is_exact(self, tiny_model: EncoderModel) -> None:
        tokens = tiny_model.tokenize(TEXTS)["input_ids"]
        end = tokens[:, -1:]
        padded = torch.cat([tokens, end.expand(-1, 77 - tokens.shape[1])], dim=1)
        with torch.no_grad():
            full = unit(tiny_model.backbone.get_text_features(input_ids=padded))  # type: ignore[operator]
            trimmed = unit(tiny_model.encode_tokens({"input_ids": padded}))
        assert (full - trimmed).abs().max() <= 1e-6

    def test_text_tower_sees_trimmed_texts(self, tiny_model: EncoderModel) -> None:
        lengths: list[int] = []
        tower: Any = tiny_model.backbone.text_model
        hook = tower.embeddings.register_forward_hook(
            lambda module, inputs, output: lengths.append(output.shape[1])
        )
        tiny_model.embed_texts(["red", "a dog"])
        hook.remove()
        assert lengths == [4]

    def test_end_token_that_the_tokenizer_never_writes(self, tmp_path: Path) -> None:
        write_clip(tmp_path / "wrong", eos_token_id=7)
        with pytest.raises(ValueError, match=r"must end a text by the model's token 7"):
            load_model(tmp_path / "wrong")

    def test_preprocessing_of_another_size(self, tiny_clip_dir: Path) -> None:
        with pytest.raises(ValueError, match="the model's 32 px, but got 64 px"):
            load_model(tiny_clip_dir, preprocessing=Preprocessing(size=64))

    def test_module_of_the_users(self, tiny_clip_dir: Path, tiny_model: EncoderModel) -> None:
        from transformers import CLIPModel

        module = CLIPModel.from_pretrained(tiny_clip_dir).train()
        model = load_model(module)
        assert isinstance(model, CLIPEncoder)
        assert model.name == "CLIPModel"
        assert (model.embed_images(photos()) - tiny_model.embed_images(photos())).abs().max() <= 1e-6
        assert module.training, "a module under training must stay so"
        assert all(child.training for child in module.modules())
        assert all(parameter.requires_grad for parameter in module.parameters())
        assert model.weights_hash() == tiny_model.weights_hash()

    def test_module_without_a_tokenizer(self, tiny_clip_dir: Path) -> None:
        from transformers import CLIPConfig, CLIPModel

        with pytest.raises(ValueError, match="Argument `tokenizer` must be given for a CLIPModel"):
            load_model(CLIPModel(CLIPConfig.from_pretrained(tiny_clip_dir)))


class TestBatches:
    def test_neighbours_and_batch_size_do_not_matter(self, tiny_model: EncoderModel) -> None:
        images = photos(7)
        together = tiny_model.embed_images(images)
        assert together.shape == (7, 16)
        assert torch.allclose(together.norm(dim=-1), torch.ones(7), atol=1e-6)
        alone = torch.cat([tiny_model.embed_images(image) for image in images])
        assert (together - alone).abs().max() <= 1e-6
        for size in (1, 3, 100):
            assert (tiny_model.embed_images(images, batch_size=size) - together).abs().max() <= 1e-6
        texts = tiny_model.embed_texts(TEXTS)
        alone = torch.cat([tiny_model.embed_texts(text) for text in TEXTS])
        assert (texts - alone).abs().max() <= 1e-6
        for size in (1, 4, 100):
            assert (tiny_model.embed_texts(TEXTS, batch_size=size) - texts).abs().max() <= 1e-6

    def test_as_many_pass_at_a_time_as_a_cpu_gains_from(self, tiny_model: EncoderModel) -> None:
        for model, expected in ((tiny_model, [32, 1]), (load_model(), [8, 8, 1])):
            passed: list[int] = []

            def note(module: Any, args: Any, kwargs: Any, passed: Any = passed) -> None:
                passed.append(len(kwargs["pixel_values"]))

            tower: Any = model.backbone.vision_model  # type: ignore[union-attr]
            handle = tower.register_forward_pre_hook(note, with_kwargs=True)
            model.embed_images(torch.rand(sum(expected), 3, 16, 16))
            handle.remove()
            assert passed == expected

    def test_tensors_batched_single_and_mixed(self, tiny_model: EncoderModel) -> None:
        batch = torch.randint(
            0, 256, (5, 3, 40, 50), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
        )
        expected = tiny_model.embed_images(batch)
        for images in (list(batch), [batch[0], batch[1:4], batch[4]], [batch[:2], batch[2:]], tuple(batch)):
            assert (tiny_model.embed_images(images) - expected).abs().max() <= 1e-6
        assert (tiny_model.embed_images(batch, batch_size=2) - expected).abs().max() <= 1e-6
        assert (tiny_model.embed_images([batch[0], batch[1:]], batch_size=2) - expected).abs().max() <= 1e-6

    def test_equal_items_are_encoded_once(self, tiny_model: EncoderModel, tmp_path: Path) -> None:
        first, second = photos(2)
        first.save(tmp_path / "first.png")
        batch = torch.randint(0, 256, (2, 3, 40, 50), dtype=torch.uint8)
        images = [first, second, first, tmp_path / "first.png", batch, str(tmp_path / "first.png"), batch]
        encoded: list[int] = []
        hook = tiny_model.backbone.vision_model.register_forward_pre_hook(  # type: ignore[union-attr]
            lambda module, args, kwargs: encoded.append(len(kwargs["pixel_values"])), with_kwargs=True
        )
        rows = tiny_model.embed_images(images)
        hook.remove()
        assert encoded == [5]
        expected = torch.cat([tiny_model.embed_images(image) for image in images])
        assert rows.shape == (9, 16)
        assert (rows - expected).abs().max() <= 1e-6

    def test_equal_texts_are_encoded_once(self, tiny_model: EncoderModel) -> None:
        encoded: list[int] = []
        hook = tiny_model.backbone.text_model.register_forward_pre_hook(  # type: ignore[union-attr]
            lambda module, args, kwargs: encoded.append(len(kwargs["input_ids"])), with_kwargs=True
        )
        rows = tiny_model.embed_texts(["red", "a dog", "red", "red"])
        hook.remove()
        assert encoded == [2]
        assert (rows[0] - rows[3]).abs().max() == 0
        assert (rows - tiny_model.embed_texts(["red", "a dog", "red", "red"])).abs().max() == 0
        assert (rows[1] - tiny_model.embed_texts("a dog")[0]).abs().max() <= 1e-6

    def test_bad_batches(self, tiny_model: EncoderModel) -> None:
        with pytest.raises(ValueError, match="`batch_size` must be at least 1, but got 0"):
            tiny_model.embed_images(torch.rand(1, 3, 32, 32), batch_size=0)
        with pytest.raises(ValueError, match="`images` must hold at least one image"):
            tiny_model.embed_images([])


class TestTexts:
    @pytest.mark.parametrize(
        ("texts", "error", "message"),
        [
            ([], ValueError, "`texts` must hold at least one text"),
            (3, TypeError, "must be a string or a sequence of strings, but got int"),
            (["red", None], TypeError, "must hold strings only, but got NoneType at position 1"),
        ],
    )
    def test_errors(self, tiny_model: EncoderModel, texts: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            tiny_model.embed_texts(texts)

    @pytest.mark.usefixtures("fresh_text_warning")
    def test_long_text_warns_once_a_process(self, tiny_model: EncoderModel) -> None:
        with pytest.warns(UserWarning, match="context of 77 tokens and is cut: 'a photo of a cat") as seen:
            tiny_model.embed_texts([LONG_TEXT, LONG_TEXT + "dog"])
            tiny_model.embed_texts(LONG_TEXT)
        assert len(seen) == 1
        assert str(Path(seen[0].filename).name) == "test_models.py", "the warning points at the caller"

    def test_long_text_is_an_error_on_demand(self, tiny_clip_dir: Path) -> None:
        model = load_model(tiny_clip_dir, truncate=False)
        with pytest.raises(
            ValueError, match=r"context of 77 tokens, but got 1 longer text\(s\), the first of them 'a "
        ):
            model.embed_texts(["red", LONG_TEXT])
        fits = "a " * 75  # with its start and end 77 tokens
        assert model.tokenize([fits])["input_ids"].shape == (1, 77)  # type: ignore[attr-defined]
        model.embed_texts(fits)
        with pytest.raises(ValueError, match="context of 77"):
            model.embed_texts(fits + "a")


class TestGradientsAndModes:
    def test_gradient_reaches_pixels_only(self, tiny_clip_dir: Path) -> None:
        model = load_model(tiny_clip_dir)
        assert isinstance(model, EncoderModel)
        pixels = torch.rand(3, 3, 40, 48, requires_grad=True)
        embeddings = model.embed_images([pixels[0], pixels[1], pixels[0], pixels[2]], batch_size=2)
        embeddings[:, 0].sum().backward()
        assert pixels.grad is not None
        assert pixels.grad.abs().amax(dim=(1, 2, 3)).min() > 0
        assert all(parameter.grad is None for parameter in model.parameters())

    def test_no_graph_without_need(self, tiny_model: EncoderModel) -> None:
        assert not tiny_model.embed_images(torch.rand(1, 3, 32, 32)).requires_grad
        assert not tiny_model.embed_texts("red").requires_grad
        with torch.no_grad():
            assert not tiny_model.embed_images(torch.rand(1, 3, 32, 32, requires_grad=True)).requires_grad
        with torch.inference_mode():
            tiny_model.embed_images(torch.rand(1, 3, 32, 32))

    def test_evaluation_mode_is_kept(self, tiny_clip_dir: Path) -> None:
        model = load_model(tiny_clip_dir)
        assert isinstance(model, EncoderModel)
        parent = nn.ModuleList([model]).train()
        assert parent.training
        assert not any(module.training for module in model.modules())

    def test_frozen(self, tiny_model: EncoderModel) -> None:
        assert not any(parameter.requires_grad for parameter in tiny_model.parameters())


class TestWeights:
    def test_hash_changes_with_a_weight_and_only_then(
        self, tiny_clip_dir: Path, tiny_model: EncoderModel
    ) -> None:
        model = load_model(tiny_clip_dir)
        assert isinstance(model, EncoderModel)
        before = model.weights_hash()
        assert len(before) == 64
        assert before == model.weights_hash() == tiny_model.weights_hash()
        model.embed_images(torch.rand(1, 3, 32, 32))
        assert model.weights_hash() == before
        model.backbone.visual_projection.weight[0, 0] += 1e-3  # type: ignore[index, union-attr, operator]
        assert model.weights_hash() != before
        other_type = load_model(tiny_clip_dir, dtype=torch.bfloat16)
        assert other_type.weights_hash() != before

    def test_half_precision_files_load_as_float32(self, tmp_path: Path) -> None:
        half = load_model(write_clip(tmp_path / "half", dtype=torch.float16))
        assert isinstance(half, EncoderModel)
        assert half.dtype == torch.float32
        half.backbone.save_pretrained(tmp_path / "single")  # type: ignore[operator]
        for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
            (tmp_path / "single" / name).write_bytes((tmp_path / "half" / name).read_bytes())
        assert load_model(tmp_path / "single").weights_hash() == half.weights_hash()

    @pytest.mark.parametrize(
        ("dtype", "result", "tolerance"),
        [(torch.float64, torch.float64, 1e-6), (torch.bfloat16, torch.float32, 0.1)],
    )
    def test_dtypes(
        self,
        tiny_clip_dir: Path,
        tiny_model: EncoderModel,
        dtype: torch.dtype,
        result: torch.dtype,
        tolerance: float,
    ) -> None:
        model = load_model(tiny_clip_dir, dtype=dtype)
        images, texts = model.embed_images(photos()), model.embed_texts(TEXTS)
        assert images.dtype == texts.dtype == result
        assert (images - tiny_model.embed_images(photos())).abs().max() <= tolerance
        assert (texts - tiny_model.embed_texts(TEXTS)).abs().max() <= tolerance

    def test_copies_and_pickles(self, tiny_clip_dir: Path) -> None:
        model = load_model(tiny_clip_dir)
        expected = model.embed_texts(TEXTS)
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert other.weights_hash() == model.weights_hash()
            assert torch.equal(other.embed_texts(TEXTS), expected)


@pytest.fixture(scope="module")
def open_clip_model() -> nn.Module:
    import open_clip

    torch.manual_seed(0)
    return open_clip.CLIP(
        embed_dim=16,
        vision_cfg={"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16},
        text_cfg={"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    ).eval()


class TestOpenCLIP:
    def test_embeddings_are_those_of_open_clip(self, open_clip_model: Any) -> None:
        import open_clip

        model = load_model(open_clip_model)
        assert isinstance(model, OpenCLIPEncoder)
        assert model.input_tag == "32-bicubic-round"
        ids = open_clip.SimpleTokenizer()([*TEXTS, LONG_TEXT])
        with torch.no_grad():
            texts = open_clip_model.encode_text(ids, normalize=True)
            transform = open_clip.image_transform(32, is_train=False)
            # torchvision's transform normalises the same crop that Pillow resized
            images = open_clip_model.encode_image(
                torch.stack([transform(photo) for photo in photos()]), normalize=True
            )
        assert (model.embed_images(photos()) - images).abs().max() <= 1e-5
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert (model.embed_texts([*TEXTS, LONG_TEXT]) - texts).abs().max() <= 1e-6

    def test_pooling_at_the_end_token(self, open_clip_model: Any) -> None:
        other = copy.deepcopy(open_clip_model)
        other.text_pool_type, other.text_eos_id = "eos", 49407
        assert torch.equal(
            load_model(other).embed_texts(TEXTS), load_model(open_clip_model).embed_texts(TEXTS)
        )

    def test_texts_are_trimmed(self, open_clip_model: Any) -> None:
        lengths: list[int] = []
        hook = open_clip_model.transformer.register_forward_pre_hook(
            lambda module, inputs: lengths.append(inputs[0].shape[1])
        )
        load_model(open_clip_model).embed_texts(["red", "a dog"])
        hook.remove()
        assert lengths == [4]

    @pytest.mark.usefixtures("fresh_text_warning")
    def test_long_texts(self, open_clip_model: Any) -> None:
        with pytest.warns(UserWarning, match="context of 77 tokens"):
            load_model(open_clip_model).embed_texts([LONG_TEXT, "red"])
        model = load_model(open_clip_model, truncate=False)
        model.embed_texts(["cat " * 75, "! " * 75])
        for text in ("cat " * 76, "! " * 76):
            with pytest.raises(ValueError, match="context of 77 tokens, but got 1 longer"):
                model.embed_texts(["red", text])

    @pytest.fixture
    def siglip(self, tmp_path: Path) -> Iterator[tuple[nn.Module, Any]]:
        """A text tower as SigLIP's: it sees every position, pools the last, and pads with the end token."""
        import open_clip

        vocabulary = write_tokenizer(tmp_path / "tokenizer")
        torch.manual_seed(0)
        module = open_clip.CustomTextCLIP(
            embed_dim=16,
            vision_cfg={"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16},
            text_cfg={
                "context_length": 16,
                "vocab_size": vocabulary,
                "width": 32,
                "heads": 2,
                "layers": 2,
                "no_causal_mask": True,
                "pool_type": "last",
            },
        )
        open_clip.model.set_model_preprocess_cfg(
            module,
            {
                "size": 32,
                "mean": (0.5, 0.5, 0.5),
                "std": (0.5, 0.5, 0.5),
                "interpolation": "bicubic",
                "resize_mode": "squash",
            },
        )
        from open_clip.tokenizer import HFTokenizer

        yield module.eval(), HFTokenizer(str(tmp_path / "tokenizer"), context_length=16)

    def test_siglip_is_squashed_and_never_trimmed(self, siglip: tuple[Any, Any]) -> None:
        module, tokenizer = siglip
        model = load_model(module, tokenizer=tokenizer)
        assert model.input_tag == "32-bicubic-squash-mean0.5-std0.5"
        with torch.no_grad():
            texts = module.encode_text(tokenizer(TEXTS), normalize=True)
            pixels = preprocess(photos(), Preprocessing(32, (0.5,) * 3, (0.5,) * 3, resize="squash"))
            images = module.encode_image(pixels, normalize=True)
        assert (model.embed_texts(TEXTS) - texts).abs().max() <= 1e-6
        assert (model.embed_images(photos()) - images).abs().max() <= 1e-6

    def test_long_texts_where_padding_is_the_end(self, siglip: tuple[Any, Any]) -> None:
        module, tokenizer = siglip
        model = load_model(module, tokenizer=tokenizer, truncate=False)
        model.embed_texts(["a " * 14, "a"])
        with pytest.raises(ValueError, match="context of 16 tokens, but got 1 longer"):
            model.embed_texts(["a " * 15, "a"])

    def test_tokenizer_that_cannot_be_found(self, siglip: tuple[Any, Any]) -> None:
        with pytest.raises(ValueError, match="Argument `tokenizer` must be given for this open_clip model"):
            load_model(siglip[0])

    def test_preprocessing_that_is_not_supported(self, open_clip_model: Any) -> None:
        other = copy.deepcopy(open_clip_model)
        other.visual.preprocess_cfg = {"size": 32, "interpolation": "bilinear"}
        with pytest.raises(ValueError, match="bicubic"):
            load_model(other)
        assert load_model(other, preprocessing=Preprocessing(size=32)).input_tag == "32-bicubic"


class Toy(nn.Module):
    """A user's module: mean colours, and counts of letters."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.image = nn.Linear(3, 4)
        self.text = nn.Embedding(128, 4)

    def encode_image(self, pixels: Tensor) -> Tensor:
        result: Tensor = self.image(self.dropout(pixels.mean(dim=(2, 3))))
        return result

    def encode_text(self, tokens: Tensor) -> Tensor:
        result: Tensor = self.text(tokens).mean(dim=1)
        return result


def letters(texts: list[str]) -> Tensor:
    return torch.tensor([[ord(letter) % 128 for letter in text[:8].ljust(8)] for text in texts])


class TestCustom:
    def test_module_of_the_users(self) -> None:
        toy = Toy().train()
        model = load_model(toy, preprocessing=Preprocessing(size=8), tokenizer=letters)
        assert isinstance(model, CustomEncoder)
        assert isinstance(model, PerceptualModel)
        assert (model.name, model.input_tag) == ("Toy", "8-bicubic")
        assert torch.equal(model.embed_images(photos()), model.embed_images(photos())), "no dropout"
        assert toy.training
        assert toy.dropout.training
        assert model.embed_texts(TEXTS).shape == (6, 4)

    def test_tokenizer_that_gives_a_mapping(self) -> None:
        model = load_model(
            Toy(), preprocessing=Preprocessing(size=8), tokenizer=lambda texts: {"tokens": letters(texts)}
        )
        assert model.embed_texts(TEXTS).shape == (6, 4)

    def test_what_is_missing_is_named(self) -> None:
        with pytest.raises(
            ValueError, match="Argument `preprocessing` must be given for a module of class Toy"
        ):
            load_model(Toy(), tokenizer=letters)
        with pytest.raises(ValueError, match="Argument `tokenizer` must be given for a module of class Toy"):
            load_model(Toy(), preprocessing=Preprocessing(size=8))
        with pytest.raises(TypeError, match="but got Linear without `encode_image` and `encode_text`"):
            load_model(nn.Linear(2, 2))


def test_nothing_heavy_is_imported() -> None:
    script = (
        "import sys, unisim_metrics.models\n"
        "heavy = {'transformers', 'peft', 'open_clip', 'huggingface_hub', 'gdown'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
