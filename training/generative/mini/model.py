"""The model before it is trained: a vision tower that sees already, a language model that knows nothing."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessor,
    FastVlmConfig,
    FastVlmForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2Config,
    VisionTextDualEncoderModel,
)

from unisim_metrics.benchmark.samples import Sample
from unisim_metrics.models.generative.instructions import IMAGE, ImagePart, ask
from unisim_metrics.tasks import Task

from ..templates import FREE_FORM, OPTIONS, TEMPLATES
from .recipe import LanguageModel, Recipe

END, PADDING = "<|im_end|>", "<|endoftext|>"
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- if message['content'] is string -%}{{ message['content'] }}"
    "{%- else -%}"
    "{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'image' -%}{{ '<image>' }}{%- else -%}{{ part['text'] }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- endif -%}"
    "{{ '<|im_end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)


def write_base(recipe: Recipe, tower: Path, folder: Path) -> None:
    """Write the untrained model as a directory of transformers.

    Args:
        recipe: What it is like.
        tower: The two-tower model whose vision tower is taken.
        folder: The directory.
    """
    tokenizer, image_size = build_tokenizer(recipe.language_model.vocab_size), recipe.triplets.image_size
    model = build_model(recipe.language_model, tower, tokenizer, image_size, recipe.seed)
    model.save_pretrained(folder)
    places = math.isqrt(model.config.image_seq_length)
    build_processor(tower, tokenizer, image_size, places).save_pretrained(folder)


def build_model(
    settings: LanguageModel, tower: Path, tokenizer: Any, image_size: int, seed: int
) -> FastVlmForConditionalGeneration:
    """Join the vision tower and a language model of random weights by a projector of random weights."""
    vision = VisionTextDualEncoderModel.from_pretrained(
        tower, dtype=torch.float32, trust_remote_code=False
    ).vision_model
    vision.config.image_size = image_size
    text = Qwen2Config(
        **dataclasses.asdict(settings) | {"vocab_size": len(tokenizer)},
        num_key_value_heads=settings.num_attention_heads,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = FastVlmConfig(
        vision_config=vision.config,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=_places(vision, image_size) ** 2,
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = FastVlmForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(vision.state_dict())
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def build_tokenizer(vocab_size: int) -> Any:
    """Learn a byte-level vocabulary from all wordings."""
    learnt = Tokenizer(models.BPE())
    # A letter, and a digit, is never joined to what stands beside it.
    learnt.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    learnt.decoder = decoders.ByteLevel()
    special = [PADDING, "<|im_start|>", END, IMAGE]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learnt.train_from_iterator(_wordings(), trainer)
    fast: Any = PreTrainedTokenizerFast
    return fast(
        tokenizer_object=learnt,
        eos_token=END,
        pad_token=PADDING,
        additional_special_tokens=["<|im_start|>", IMAGE],
        padding_side="left",
    )


def build_processor(tower: Path, tokenizer: Any, image_size: int, places: int) -> Any:
    """The processor: images squared to one size, pixels normalised as the vision tower knows them.

    Args:
        tower: The two-tower model whose vision tower is taken.
        tokenizer: The tokenizer.
        image_size: Side of the images, in pixels.
        places: Tokens along a side of an image.
    """
    images = CLIPImageProcessor.from_pretrained(
        tower,
        size={"shortest_edge": image_size},
        crop_size={"height": image_size, "width": image_size},
        trust_remote_code=False,
    )
    llava: Any = LlavaProcessor
    return llava(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=image_size // places,
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
    )


@torch.no_grad()
def _places(vision: torch.nn.Module, image_size: int) -> int:
    """Places along a side of the tower's last map: padding decides them, which a size that is no power of two shows."""
    features = vision.eval()(torch.zeros(1, 3, image_size, image_size)).last_hidden_state
    return int(features.shape[-1])


def _wordings() -> Iterator[str]:
    """Every text that a dialogue may be made of, without the images."""
    image, text = Path("image"), "a photo"
    samples: dict[Task, Sample] = {
        "image-image": Sample(image, (image, image), 0),
        "image-text": Sample(text, (image, image), 0),
        "caption": Sample(image, (text, text), 0),
        "quality": Sample(None, (image, image), 0),
    }
    for task, templates in TEMPLATES.items():
        sample = samples[task]
        asked = ask(task, sample.reference, sample.alternatives)
        yield from [part for part in asked.parts if not isinstance(part, ImagePart)]
        yield from (re.sub(r"\{\w+\}", "", words) for words in (*templates.questions, *templates.answers))
    yield from (re.sub(r"\{\w+\}", "", words) for words in OPTIONS)
    yield from (*FREE_FORM, "user\n", "assistant\n", *(f"Image {n} image {n}" for n in (1, 2, 3)))
