"""`VisionTextDualEncoderModel` over any towers: equal to transformers' own forward, whatever stands in the batch."""

from __future__ import annotations

import copy
import json
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import transformers
from conftest import write_preprocessor
from pillow_processors import EfficientNetImageProcessorPil
from test_models import photos, unit
from torch import Tensor
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from unisim_metrics import UniSimLoss, UniSimScore, load_model
from unisim_metrics.errors import CheckpointError
from unisim_metrics.images import Preprocessing
from unisim_metrics.models import CLIPEncoder, DualEncoder, EncoderModel

_CONTEXT = 24
_TEXTS = ["a dog", "a cat on a red mat, asleep", "", "猫 Ω zebra", "A DOG", "dog dog dog dog dog dog dog"]
_LONG = "a red dog " * 20
_WORDS = ["a", "dog", "cat", "on", "red", "mat", "sep", "cls", "s", "/", "<", ">", "[", "]", ","]
_LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
_MARKS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]

_TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}


def bert_tokenizer() -> Any:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_WORDS, *_LETTERS]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    vocabulary |= {f"##{letter}": len(vocabulary) + index for index, letter in enumerate(_LETTERS)}
    return transformers.BertTokenizer(vocab=vocabulary, model_max_length=_CONTEXT)


def roberta_tokenizer() -> Any:
    vocabulary = {token: index for index, token in enumerate([*_MARKS, *bytes_to_unicode().values()])}
    return transformers.RobertaTokenizer(vocab=vocabulary, merges=[])


def xlm_roberta_tokenizer() -> Any:
    pieces = [*_MARKS[:4], "▁", *(f"▁{word}" for word in _WORDS), *_WORDS, *_LETTERS]
    return transformers.XLMRobertaTokenizer(vocab=[(piece, -1.0) for piece in dict.fromkeys(pieces)])


def mpnet_tokenizer() -> Any:
    tokens = [*_MARKS[:3], "[UNK]", "<mask>", *_WORDS, *_LETTERS]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    vocabulary |= {f"##{letter}": len(vocabulary) + index for index, letter in enumerate(_LETTERS)}
    return transformers.MPNetTokenizer(vocab=vocabulary, model_max_length=_CONTEXT)


class Case(NamedTuple):
    """Two towers and their tokenizer."""

    vision: str
    text: str
    tokenizer: Callable[[], Any]
    vision_settings: dict[str, Any]
    text_settings: dict[str, Any]


_VIT = {**_TOWER, "image_size": 32, "patch_size": 16}
_MOBILE = {"image_size": 32, "depth_multiplier": 0.35, "hidden_size": 1280}
# Its `image_size` is left at the default of 600, which nothing reads.
_EFFICIENT = {"width_coefficient": 0.1, "depth_coefficient": 0.1, "hidden_dim": 128, "hidden_size": 128}
_CONVNEXT = {"hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1], "hidden_size": 16}
_SWIN = {
    "image_size": 32,
    "patch_size": 4,
    "embed_dim": 8,
    "depths": [1, 1],
    "num_heads": [2, 2],
    "window_size": 4,
}
# RoBERTa's positions begin behind the padding's, number 1.
_OFFSET = {"pad_token_id": 1, "max_position_embeddings": _CONTEXT + 2}

CASES = [
    Case("ViT", "Bert", bert_tokenizer, _VIT, {"max_position_embeddings": 512}),
    Case("ViT", "Roberta", roberta_tokenizer, _VIT, _OFFSET),
    Case("ConvNext", "MPNet", mpnet_tokenizer, _CONVNEXT, {**_OFFSET, "max_position_embeddings": 514}),
    Case("Swin", "XLMRoberta", xlm_roberta_tokenizer, _SWIN, _OFFSET),
    Case("EfficientNet", "Bert", bert_tokenizer, _EFFICIENT, {"max_position_embeddings": 512}),
    Case("MobileNetV2", "Bert", bert_tokenizer, _MOBILE, {"max_position_embeddings": _CONTEXT}),
    Case("CLIPVision", "Albert", bert_tokenizer, _VIT, {"embedding_size": 8}),
]


def write(directory: Path, case: Case) -> Path:
    """Write random towers, which tell their inputs apart, with a tokenizer and an image processor."""
    tokenizer = case.tokenizer()
    tokenizer.save_pretrained(directory)
    if case.vision == "EfficientNet":
        processor = EfficientNetImageProcessorPil(
            size={"height": 40, "width": 40}, image_mean=[0.4, 0.5, 0.6], image_std=[0.5, 0.6, 0.7]
        )
        (directory / "preprocessor_config.json").write_text(processor.to_json_string())
    else:
        write_preprocessor(directory, 32)
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        getattr(transformers, f"{case.vision}Config")(**case.vision_settings),
        getattr(transformers, f"{case.text}Config")(
            **{**_TOWER, "vocab_size": len(tokenizer), **case.text_settings}
        ),
        projection_dim=8,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = VisionTextDualEncoderModel(config).train()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim == 4:
                    torch.nn.init.kaiming_normal_(parameter)
                elif parameter.ndim == 2:
                    parameter.normal_(std=0.3)
                elif name.endswith("bias"):
                    parameter.normal_(std=0.1)
                elif parameter.ndim == 1:
                    parameter.fill_(1)
            model.get_image_features(pixel_values=torch.randn(8, 3, 32, 32))  # statistics of batch norms
            if case.vision == "EfficientNet":
                # The last layer looks at all of a text alike: a mean, to which padding must not count.
                attention = model.text_model.encoder.layer[-1].attention.self
                attention.query.weight.zero_()
                attention.query.bias.zero_()
    model.save_pretrained(directory)
    return directory


def expected_embeddings(directory: Path, pixels: Tensor, texts: list[str]) -> tuple[Tensor, Tensor]:
    """What transformers itself gives: the forward of its class over its own tokenizer."""
    plain = VisionTextDualEncoderModel.from_pretrained(directory).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokens = tokenizer(texts, padding=True, truncation=True, max_length=_CONTEXT, return_tensors="pt")
    with torch.no_grad():
        output = plain(**tokens, pixel_values=pixels)
    return unit(output.image_embeds), unit(output.text_embeds)


@pytest.fixture(scope="module", params=CASES, ids=[f"{case.vision}-{case.text}" for case in CASES])
def directory(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("dual"), request.param)


@pytest.fixture(scope="module")
def model(directory: Path) -> Any:
    return load_model(directory, resample="pil")


@pytest.fixture(scope="module")
def bert_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("dual"), CASES[4])


@pytest.fixture(scope="module")
def bert(bert_dir: Path) -> Any:
    return load_model(bert_dir)


def test_equal_to_transformers_own_forward(directory: Path, model: Any) -> None:
    processor = AutoImageProcessor.from_pretrained(directory, backend="pil")
    pixels = processor(photos(), return_tensors="pt")["pixel_values"]
    images, texts = expected_embeddings(directory, pixels, [*_TEXTS, _LONG])
    assert isinstance(model, DualEncoder)
    assert not isinstance(model, CLIPEncoder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert (model.embed_texts([*_TEXTS, _LONG]) - texts).abs().max() <= 1e-5
    # Fifty random convolutions amplify the rounding, which differs with the layout in memory.
    assert (model.embed_images(photos()) - images).abs().max() <= 5e-5
    assert (texts[0] - texts[1]).norm() > 0.02, "the towers tell texts apart"
    assert (images[0] - images[1]).norm() > 1e-3, "and images"


def test_neighbours_change_nothing(model: Any) -> None:
    together = model.embed_texts(_TEXTS)
    alone = torch.cat([model.embed_texts(text) for text in _TEXTS])
    assert (together - alone).abs().max() <= 1e-5
    padded = model.tokenize([_TEXTS[0], _TEXTS[5]])
    padded = {key: torch.nn.functional.pad(value, (0, 3)) for key, value in padded.items()}
    lengthened = unit(model.encode_tokens(padded))
    assert (lengthened - together[[0, 5]]).abs().max() <= 1e-5


def test_context(model: Any) -> None:
    assert model.context == _CONTEXT, "of the tokenizer and of the positions the fewer"
    assert model.find_long_texts(["a dog", _LONG]) == [False, True]
    assert model.count_truncated(["a dog", _LONG, _LONG]) == 2
    tokens = model.tokenize(["a dog", _LONG])
    assert {tuple(value.shape) for value in tokens.values()} == {(2, model.context)}
    last = model.tokenize(["a dog"])["input_ids"][0, -1]
    assert tokens["input_ids"][1, -1] == last, "what is cut still ends as a text does"


def test_roberta_reads_as_many_tokens_as_it_has_positions(tmp_path: Path) -> None:
    model: Any = load_model(write(tmp_path, CASES[1]))
    assert model.context == _CONTEXT, "not the 26 rows of its table, of which two stand for padding"
    assert model.embed_texts("x" * (_CONTEXT - 2)).isfinite().all()
    assert model.find_long_texts(["x" * (_CONTEXT - 2), "x" * (_CONTEXT - 1)]) == [False, True]


def test_special_tokens_spelt_out_are_text(model: Any) -> None:
    tokenizer = model.tokenizer
    spelt = " ".join(token for token in tokenizer.all_special_tokens if token != tokenizer.unk_token)
    for text in (f"a {tokenizer.sep_token} cat", f"{tokenizer.cls_token}{tokenizer.pad_token} dog", spelt):
        plain = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        inner = model._tokens([text])["input_ids"][0][1:-1]
        assert not plain & set(inner)
    ours = model.embed_texts([f"a {tokenizer.sep_token} cat", "a cat"])
    assert (ours[0] - ours[1]).norm() > 1e-3


def test_an_unknown_token_is_no_end(bert: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        short, whole = bert.embed_texts(["猫", "猫 a red dog"])
    assert (short - whole).norm() > 1e-3, "what follows is read"


@pytest.mark.usefixtures("fresh_text_warning")
def test_long_texts_warn_once_or_are_an_error(bert: Any, bert_dir: Path) -> None:
    with pytest.warns(UserWarning, match="longer than the model's context of 24 tokens and is cut") as seen:
        bert.embed_texts(["a dog", _LONG])
        bert.embed_texts(_LONG)
    assert len(seen) == 1
    assert Path(seen[0].filename).name == Path(__file__).name
    with pytest.raises(ValueError, match="fit in the model's context of 24 tokens, but got 1 longer"):
        load_model(bert_dir, truncate=False).embed_texts([_LONG])  # type: ignore[attr-defined]


def test_a_side_of_the_tokenizers_own_choosing(bert_dir: Path, bert: Any) -> None:
    """Padding and cutting at the start would change positions, and drop a text's beginning."""
    tokenizer = AutoTokenizer.from_pretrained(bert_dir, padding_side="left", truncation_side="left")
    other: Any = load_model(bert_dir, tokenizer=tokenizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert torch.equal(other.embed_texts([*_TEXTS, _LONG]), bert.embed_texts([*_TEXTS, _LONG]))


def test_a_text_without_any_token(bert_dir: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(bert_dir)
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    model: Any = load_model(bert_dir, tokenizer=tokenizer)
    assert model.embed_texts("a dog").isfinite().all()
    with pytest.raises(ValueError, match="of which the tokenizer makes a token, but got ''"):
        model.embed_texts(["a dog", ""])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes(bert_dir: Path, bert: Any, dtype: torch.dtype) -> None:
    model: Any = load_model(bert_dir, dtype=dtype)
    texts, images = model.embed_texts(_TEXTS), model.embed_images(torch.rand(2, 3, 40, 40))
    assert texts.dtype == images.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert images.isfinite().all()
    assert (texts.float() - bert.embed_texts(_TEXTS)).abs().max() <= 0.05
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(bert.embed_texts(_TEXTS), bert.embed_texts(_TEXTS).clone())
        assert bert.embed_texts(_TEXTS).dtype == torch.float32


def test_copies_modules_and_compiled_ones(bert_dir: Path, bert: Any) -> None:
    wanted = bert.embed_texts(_TEXTS)
    module: Any = VisionTextDualEncoderModel.from_pretrained(bert_dir).train()
    for other in (
        copy.deepcopy(bert),
        pickle.loads(pickle.dumps(bert)),
        load_model(module),
        load_model(torch.nn.DataParallel(module)),
        load_model(torch.compile(module, backend="eager")),  # type: ignore[arg-type]
    ):
        assert isinstance(other, DualEncoder)
        assert torch.equal(other.embed_texts(_TEXTS), wanted)
        assert other.weights_hash() == bert.weights_hash()
    assert module.training


def test_metric_and_loss(bert: Any) -> None:
    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    texts = ["a red dog", "a cat"]
    expected = (bert.embed_images(images) * bert.embed_texts(texts)).sum(-1)
    metric = UniSimScore(bert, reduction="none")
    assert (metric(images, texts) - expected).abs().max() <= 1e-5
    pixels = images.clone().requires_grad_()
    loss = UniSimLoss(bert)(pixels, texts)
    (gradient,) = torch.autograd.grad(loss, pixels)
    assert gradient.abs().max() > 0


def test_adapter(bert_dir: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    module = VisionTextDualEncoderModel.from_pretrained(bert_dir).eval()
    settings = LoraConfig(r=2, target_modules=["query", "value"], init_lora_weights=False)
    adapted = get_peft_model(module, settings).eval()
    adapted.save_pretrained(tmp_path)
    unmerged: Any = load_model(adapted, tokenizer=AutoTokenizer.from_pretrained(bert_dir))
    merged: Any = load_model(tmp_path, base=bert_dir)
    assert isinstance(merged, DualEncoder)
    assert (merged.embed_texts(_TEXTS) - unmerged.embed_texts(_TEXTS)).abs().max() <= 1e-5
    assert merged.weights_hash() == unmerged.weights_hash()


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "settings", "lacks"),
        [
            ("DistilBert", {"dim": 16, "hidden_dim": 32, "n_heads": 2, "n_layers": 1}, "does not pool"),
            ("Electra", {**_TOWER, "embedding_size": 16}, "does not pool"),
            ("FNet", _TOWER, "takes no attention mask"),
        ],
    )
    def test_text_towers(self, tmp_path: Path, text: str, settings: dict[str, Any], lacks: str) -> None:
        write(tmp_path, CASES[0])
        vision = transformers.ViTConfig(**_VIT)
        config = getattr(transformers, f"{text}Config")(vocab_size=100, **settings)
        joined = VisionTextDualEncoderConfig.from_vision_text_configs(vision, config, projection_dim=8)
        module = VisionTextDualEncoderModel(joined).eval()
        module.save_pretrained(tmp_path)
        for target in (tmp_path, VisionTextDualEncoderModel.from_pretrained(tmp_path)):
            with pytest.raises(ValueError, match=rf"must have a text tower .* {lacks}.*`encode_text`"):
                load_model(target)

    def test_an_image_size_that_position_embeddings_do_not_fit(self, tmp_path: Path) -> None:
        write(tmp_path, CASES[0])
        with pytest.raises(ValueError, match="the model's 32 px, but got 64 px"):
            load_model(tmp_path, preprocessing=Preprocessing(size=64))

    def test_an_image_tower_that_transformers_cannot_join(self, tmp_path: Path) -> None:
        write(tmp_path, CASES[0])
        file = tmp_path / "config.json"
        settings = json.loads(file.read_text())
        settings["vision_config"] = transformers.ResNetConfig().to_dict()
        file.write_text(json.dumps(settings))
        with pytest.raises(CheckpointError, match=r"cannot be read: .*hidden_size"):
            load_model(tmp_path)

    def test_weights(self, bert_dir: Path, tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        weights = load_file(bert_dir / "model.safetensors")
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
            (tmp_path / name).write_text((bert_dir / name).read_text())
        pooler = weights.pop("text_model.pooler.dense.weight")
        save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
        with pytest.raises(CheckpointError, match="1 is missing"):
            load_model(tmp_path)
        weights["text_model.pooler.dense.weight"] = pooler
        weights["text_model.embeddings.more"] = pooler.clone()
        save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
        with pytest.raises(CheckpointError, match="1 is extra"):
            load_model(tmp_path)

    @pytest.mark.parametrize("kind", ["none of transformers", None])
    def test_a_text_tower_of_another_kind(self, bert_dir: Path, tmp_path: Path, kind: str | None) -> None:
        for file in bert_dir.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        settings = json.loads((tmp_path / "config.json").read_text())
        settings["text_config"]["model_type"] = kind
        (tmp_path / "config.json").write_text(json.dumps(settings))
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_model(tmp_path)

    def test_code_beside_a_text_tower_is_not_run(self, bert_dir: Path, bert: Any, tmp_path: Path) -> None:
        for file in bert_dir.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        settings = json.loads((tmp_path / "config.json").read_text())
        settings["text_config"]["auto_map"] = {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"}
        (tmp_path / "config.json").write_text(json.dumps(settings))
        (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
        assert torch.equal(load_model(tmp_path).embed_texts("a dog"), bert.embed_texts("a dog"))  # type: ignore[attr-defined]
        assert not (tmp_path / "ran").exists()

    def test_a_directory_without_an_image_processor(self, bert_dir: Path, tmp_path: Path) -> None:
        for file in bert_dir.iterdir():
            if file.name != "preprocessor_config.json":
                (tmp_path / file.name).write_bytes(file.read_bytes())
        with pytest.raises(ValueError, match=r"must hold the image processor \(`preprocessor_config.json`\)"):
            load_model(tmp_path)
        model = load_model(tmp_path, preprocessing=Preprocessing(size=48))
        assert isinstance(model, EncoderModel)
        assert model.preprocessing.size == 48


def test_a_vocabulary_as_the_only_tokenizer_file(bert_dir: Path, bert: Any, tmp_path: Path) -> None:
    """As BERT's older directories have it."""
    for file in bert_dir.iterdir():
        if file.name != "tokenizer.json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    vocabulary = bert.tokenizer.get_vocab()
    (tmp_path / "vocab.txt").write_text(
        "".join(f"{word}\n" for word in sorted(vocabulary, key=vocabulary.get))
    )
    model: Any = load_model(tmp_path)
    assert torch.equal(model.embed_texts(_TEXTS), bert.embed_texts(_TEXTS))
