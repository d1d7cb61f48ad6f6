"""A data root in the real layout and a run's first stage, both tiny, for the recipe of the bundled model."""

from __future__ import annotations

import csv
import json
import pickle
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, EfficientNetConfig, EfficientNetModel

from unisim_metrics.training.mini import words
from unisim_metrics.training.mini.minilm import build_text_tower
from unisim_metrics.training.mini.vocabulary import build_tokenizer

SETTINGS = [
    "views.frozen_blocks=3",
    "views.views=2",
    "views.ladders=6",
    "views.smallest_crop=64",
    "texts.of_each=2",
    "texts.nouns=20",
    "bridge.width=8",
    "bridge.steps=10",
    "bridge.learning_rate=5e-3",
    "bridge.warmup_steps=5",
    "bridge.caption_batch=16",
    "bridge.synthetic_batch=8",
    "bridge.photo_batch=8",
    "bridge.kind_batch=4",
    "bridge.text_batch=16",
    "perceptual.steps=2",
    "perceptual.warmup_steps=1",
    "perceptual.caption_batch=8",
    "perceptual.photo_batch=4",
    "perceptual.class_batch=2",
    "perceptual.people_batch=2",
    "perceptual.material_batch=2",
    "perceptual.ladder_batch=6",
    "perceptual.text_batch=16",
]
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "grey": (128, 128, 128)}
SAID = ("Something {}", "A man in {} .")
KINDS = 5
BALLPLAYER = "n09835506"


def write_photo(
    path: Path, colour: tuple[int, int, int], size: tuple[int, int], rng: np.random.Generator
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.array(colour) + rng.normal(0, 25, (size[1], size[0], 3))
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def write_root(root: Path) -> None:
    """Photos of one colour each, with captions that name it, and random answers."""
    rng = np.random.default_rng(0)
    (root / "flickr8k").mkdir()
    with open(root / "flickr8k" / "captions.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "split", "caption"])
        for index in range(32):
            name = list(COLOURS)[index % 4]
            write_photo(root / "flickr8k" / "images" / f"{index}.jpg", COLOURS[name], (128, 128), rng)
            for text in ("A {} wall .", "The wall is {} .", SAID[index % 2], "A {} photo .", "All {} ."):
                writer.writerow([f"{index}.jpg", "train" if index < 24 else "dev", text.format(name)])
    (root / "tiny-imagenet-60").mkdir()
    with open(root / "tiny-imagenet-60" / "labels.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "wnid", "words"])
        for index in range(24):
            name = list(COLOURS)[index % 4]
            write_photo(root / "tiny-imagenet-60" / "images" / f"{index}.JPEG", COLOURS[name], (64, 64), rng)
            writer.writerow([f"{index}.JPEG", words.imagenet_synsets()[index % 4], f"{name}, {name} thing"])
    for index in range(5):
        write_photo(root / "bsds400" / "images" / "train" / f"{index}.jpg", COLOURS["green"], (150, 110), rng)
    for light in ("dawn", "dusk"):
        for index in range(40):
            write_photo(
                root / "material-2afc" / "images" / light / f"m{index:02}.jpg", COLOURS["grey"], (64, 64), rng
            )
    answers = [rng.choice(40, size=3, replace=False).tolist() for _ in range(3000)]
    (root / "material-2afc" / "answers_train.json").write_text(json.dumps({"answers_diff": answers}))
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    content = {
        b"data": rng.integers(0, 256, (60, 3072), dtype=np.uint8),
        b"fine_labels": [index % 100 for index in range(60)],
        b"coarse_labels": [index % 20 for index in range(60)],
    }
    (folder / "test").write_bytes(pickle.dumps(content, protocol=2))
    names = [f"thing_{index}".encode() for index in range(100)]
    (folder / "meta").write_bytes(pickle.dumps({b"fine_label_names": names}, protocol=2))
    write_nouns(root / "wordnet" / "data.noun")


def write_nouns(path: Path) -> None:
    """WordNet's file with ImageNet's classes alone, each of one of a few kinds, all of them things but for one."""
    path.parent.mkdir(parents=True)
    lines = ["  1 The header of the file is indented.", "00001740 03 n 01 entity 0 000 | all that is"]
    for kind in range(KINDS):
        lines.append(
            f'9000000{kind} 03 n 02 kind_{kind} 0 sort_{kind} 0 001 @ 00001740 n 0000 | kind number {kind}; "so"'
        )
    lines.append(f"{words.PERSON} 03 n 01 person 0 001 @ 00001740 n 0000 | a human being")
    for index, wnid in enumerate(words.imagenet_synsets()):
        above = f"@ 9000000{index % KINDS} n 0000"
        if wnid == BALLPLAYER:
            above += f" @ {words.PERSON} n 0000"
        lines.append(f"{wnid[1:]} 03 n 01 noun 0 00{above.count('@')} {above} | a class")
    path.write_text("\n".join(lines) + "\n")


def write_minilm(folder: Path) -> None:
    """A BERT of one layer with random weights, and a WordPiece vocabulary of ASCII and a few words."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    characters = [*sorted({chr(code) for code in range(33, 127)} - set(map(chr, range(65, 91)))), "’"]
    tokens += characters + [f"##{character}" for character in characters]
    tokens += ["wall", "photo", "something", *COLOURS]
    tokenizer = Tokenizer(
        models.WordPiece({token: index for index, token in enumerate(tokens)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)


def tiny_image_tower() -> EfficientNetModel:
    """An EfficientNet of four blocks, each half as large, whose random weights keep what they see."""
    torch.manual_seed(0)
    config = EfficientNetConfig(
        image_size=224,
        width_coefficient=1.0,
        depth_coefficient=1.0,
        in_channels=[32, 8, 8, 8],
        out_channels=[8, 8, 8, 16],
        num_block_repeats=[1, 1, 1, 1],
        kernel_sizes=[3, 3, 3, 5],
        strides=[2, 2, 2, 2],
        expand_ratios=[1, 2, 2, 2],
        depthwise_padding=[],
        hidden_dim=1280,  # the class takes no other
        hidden_act="relu6",
        squeeze_expansion_ratio=1e-6,
        dropout_rate=0.0,
        drop_connect_rate=0.0,
    )
    config.hidden_size = config.hidden_dim
    tower = EfficientNetModel(config)
    with torch.no_grad():
        for name, parameter in tower.named_parameters():
            if "squeeze_excite" in name:
                parameter.fill_(30.0 if name.endswith("expand.bias") else 0.0)
            elif parameter.ndim == 4:
                torch.nn.init.kaiming_normal_(parameter)
            elif name.endswith("weight"):
                parameter.fill_(1.0)
    return tower.eval()


def write_towers(folder: Path, context_length: int = 32) -> None:
    """What a run keeps of the towers as they came."""
    tower = tiny_image_tower()
    tower.save_pretrained(folder / "image")
    classifier = {"weight": torch.randn(1000, 1280), "bias": torch.zeros(1000)}
    save_file(classifier, folder / "classifier.safetensors")
    write_minilm(folder / "minilm")
    build_text_tower(folder / "minilm").save_pretrained(folder / "text")
    build_tokenizer(folder / "minilm" / "tokenizer.json", context_length).save_pretrained(
        folder / "tokenizer"
    )
