"""Random vision-language models of each family, a few thousand weights each, with tokenizers made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from unisim_metrics.models.generative.instructions import ask
from unisim_metrics.models.generative.model import GenerativeModel
from unisim_metrics.tasks import TASKS

SIZE = 28
_LETTERS = [f"{lead}{letter}" for lead in ("", " ") for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
_RATINGS = ["Yes", "No", " Yes", " No", " excellent", " good", " fair", " poor", " bad"]
_CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ 'IMAGE' }}{% else %}{{ part['text'] }}"
    "{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# As Idefics2's own: an answer begins by a space.
_IDEFICS_CHAT = (
    "{% for message in messages %}{{ message['role'].capitalize() }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% else %}{{ '<image>' }}{% endif %}{% endfor %}{{ '<end_of_utterance>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
# As Gemma's own: the assistant is called the model.
_GEMMA_CHAT = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' }}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<start_of_image>' }}"
    "{% else %}{{ part['text'] | trim }}{% endif %}{% endfor %}{{ '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


def tokenizer(special: list[str], *, metaspace: bool = False, texts: Sequence[str] = (), **names: str) -> Any:
    """A small BPE tokenizer that has learnt the words of the questions: by bytes, or by Metaspace as Llama's.

    Args:
        special: Its special tokens.
        metaspace: Which of the two.
        texts: Further texts, whose words it learns too.
        names: What else it is made with.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    questions = [ask(task, "x", ["x"] * 3) for task in TASKS]
    corpus = [part for question in questions for part in question.parts if isinstance(part, str)]
    corpus += [*_LETTERS, *_RATINGS, *texts]
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    alphabet = [] if metaspace else pre_tokenizers.ByteLevel.alphabet()
    core.pre_tokenizer = (
        pre_tokenizers.Metaspace() if metaspace else pre_tokenizers.ByteLevel(add_prefix_space=False)
    )
    core.decoder = decoders.Metaspace() if metaspace else decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<unk>", "<s>", *special],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    core.train_from_iterator(corpus * 3, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", additional_special_tokens=special, **names
    )


def _text_config(vocabulary: int) -> dict[str, Any]:
    return {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": vocabulary,
        "max_position_embeddings": 4096,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }


_SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIZE,
    "patch_size": 14,
    "vision_use_head": False,
}
_QWEN_TOKENS = ["<|im_end|>", "<|im_start|>", "<image>", "<video>"]


def llava(**text: Any) -> tuple[Any, Any]:
    """LLaVA with SigLIP and Qwen2."""
    from transformers import (
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        SiglipImageProcessor,
    )

    words = tokenizer(_QWEN_TOKENS, eos_token="<|im_end|>", pad_token="<|im_end|>")
    config = LlavaConfig(
        vision_config=_SIGLIP,
        text_config={"model_type": "qwen2", **_text_config(len(words)), **text},
        image_token_id=words.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_seq_length=4,
    )
    images = SiglipImageProcessor(size={"height": SIZE, "width": SIZE})
    processor = LlavaProcessor(
        images, words, patch_size=14, vision_feature_select_strategy="full", chat_template=_chat("<image>")
    )
    return LlavaForConditionalGeneration(config), processor


def llava_onevision() -> tuple[Any, Any]:
    """LLaVA-OneVision, which cuts a lone image into crops."""
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessor,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
    )

    words = tokenizer(_QWEN_TOKENS, eos_token="<|im_end|>", pad_token="<|im_end|>")
    grid = [[SIZE, SIZE], [SIZE, 2 * SIZE], [2 * SIZE, SIZE], [2 * SIZE, 2 * SIZE]]
    config = LlavaOnevisionConfig(
        vision_config=_SIGLIP,
        text_config={"model_type": "qwen2", **_text_config(len(words))},
        image_token_id=words.convert_tokens_to_ids("<image>"),
        video_token_id=words.convert_tokens_to_ids("<video>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=grid,
    )
    side = {"height": SIZE, "width": SIZE}
    processor = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size=side, image_grid_pinpoints=grid),
        words,
        LlavaOnevisionVideoProcessor(size=side),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=_chat("<image>"),
    )
    return LlavaOnevisionForConditionalGeneration(config), processor


def _qwen_vl(version: str, vision: dict[str, Any], patch: int = 14, **text: Any) -> tuple[Any, Any]:
    import transformers

    special = [
        "<|im_end|>",
        "<|im_start|>",
        "<|vision_start|>",
        "<|vision_end|>",
        "<|image_pad|>",
        "<|video_pad|>",
    ]
    words = tokenizer(special, eos_token="<|im_end|>", pad_token="<|im_end|>")
    start, end, image, video = words.convert_tokens_to_ids(special[2:])
    config = getattr(transformers, f"{version}Config")(
        text_config={
            **_text_config(len(words)),
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
            **text,
        },
        vision_config={"depth": 2, "hidden_size": 32, "num_heads": 2, "patch_size": patch, **vision},
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    pixels = {"min_pixels": 28 * 28, "max_pixels": 56 * 56}
    videos = (
        transformers.Qwen3VLVideoProcessor if version == "Qwen3VL" else transformers.Qwen2VLVideoProcessor
    )
    processor = getattr(transformers, f"{version}Processor")(
        transformers.Qwen2VLImageProcessor(patch_size=patch, **pixels),
        words,
        videos(**({} if version == "Qwen3VL" else pixels)),
        chat_template=_chat("<|vision_start|><|image_pad|><|vision_end|>"),
    )
    return getattr(transformers, f"{version}ForConditionalGeneration")(config), processor


def qwen2_vl() -> tuple[Any, Any]:
    """Qwen2-VL, whose images have as many tokens as their size asks for, and positions in space."""
    return _qwen_vl("Qwen2VL", {"embed_dim": 32})


def qwen2_5_vl() -> tuple[Any, Any]:
    """Qwen2.5-VL, whose tower looks through windows."""
    windows = {"window_size": 56, "fullatt_block_indexes": [1]}
    return _qwen_vl("Qwen2_5_VL", {"intermediate_size": 48, "out_hidden_size": 32, **windows})


def qwen3_vl() -> tuple[Any, Any]:
    """Qwen3-VL, whose tower speaks to several layers of the language model."""
    vision = {"intermediate_size": 48, "out_hidden_size": 32, "num_position_embeddings": 16}
    return _qwen_vl("Qwen3VL", {**vision, "deepstack_visual_indexes": [0]}, patch=16, head_dim=8)


def gemma3() -> tuple[Any, Any]:
    """Gemma 3, which sees all of an image at once, and most of the text through a window."""
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3ImageProcessor,
        Gemma3Processor,
    )

    special = ["<end_of_turn>", "<start_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>"]
    names = {
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    }
    words = tokenizer(
        special,
        bos_token="<s>",
        eos_token="<end_of_turn>",
        pad_token="<unk>",
        extra_special_tokens=names,
    )
    processor = Gemma3Processor(
        Gemma3ImageProcessor(size={"height": SIZE, "width": SIZE}),
        words,
        image_seq_length=4,
        chat_template=_GEMMA_CHAT,
    )
    start, end, image = words.convert_tokens_to_ids(special[2:])
    config = Gemma3Config(
        vision_config=_SIGLIP | {"patch_size": 7},
        text_config={
            **_text_config(len(words)),
            "pad_token_id": 0,
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
            "sliding_window": 32,
            "sliding_window_pattern": 2,
        },
        mm_tokens_per_image=4,
        boi_token_index=start,
        eoi_token_index=end,
        image_token_index=image,
        tie_word_embeddings=False,
    )
    return Gemma3ForConditionalGeneration(config), processor


def idefics2() -> tuple[Any, Any]:
    """Idefics2, the class of Mantis, with a tokenizer that begins words by a mark."""
    from transformers import (
        Idefics2Config,
        Idefics2ForConditionalGeneration,
        Idefics2ImageProcessor,
        Idefics2Processor,
    )

    special = ["<fake_token_around_image>", "<image>", "<end_of_utterance>"]
    words = tokenizer(
        special, metaspace=True, bos_token="<s>", eos_token="<end_of_utterance>", pad_token="<unk>"
    )
    images = Idefics2ImageProcessor(
        do_image_splitting=False, size={"shortest_edge": SIZE, "longest_edge": 2 * SIZE}
    )
    processor = Idefics2Processor(images, words, image_seq_len=3, chat_template=_IDEFICS_CHAT)
    config = Idefics2Config(
        text_config={"model_type": "mistral", **_text_config(len(words)), "pad_token_id": 0},
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 2 * SIZE,
            "patch_size": 14,
        },
        perceiver_config={
            "hidden_size": 32,
            "resampler_n_latents": 3,
            "resampler_depth": 1,
            "resampler_n_heads": 2,
            "resampler_head_dim": 16,
            "num_key_value_heads": 1,
        },
        image_token_id=words.convert_tokens_to_ids("<image>"),
    )
    return Idefics2ForConditionalGeneration(config), processor


def internvl(**text: Any) -> tuple[Any, Any]:
    """InternVL over Qwen2.5, which cuts an image into crops between two tokens of its own."""
    from transformers import (
        GotOcr2ImageProcessor,
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLProcessor,
        InternVLVideoProcessor,
    )

    # `<video>` comes in by its name alone, and so behind all others, as in the processors on the Hub.
    special = ["<|im_end|>", "<|im_start|>", "<img>", "</img>", "<IMG_CONTEXT>"]
    names = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    words = tokenizer(special, eos_token="<|im_end|>", pad_token="<|im_end|>", extra_special_tokens=names)
    config = InternVLConfig(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": [SIZE, SIZE],
            "patch_size": [7, 7],
        },
        text_config={"model_type": "qwen2", **_text_config(len(words)), **text},
        image_token_id=words.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    side = {"height": SIZE, "width": SIZE}
    processor = InternVLProcessor(
        GotOcr2ImageProcessor(size=side, min_patches=1, max_patches=4),
        words,
        InternVLVideoProcessor(size=side),
        image_seq_length=4,
        chat_template=_chat("<IMG_CONTEXT>\n"),
    )
    return InternVLForConditionalGeneration(config), processor


def internvl3_5() -> tuple[Any, Any]:
    """InternVL3.5, which is InternVL over Qwen3."""
    return internvl(model_type="qwen3", head_dim=8)


FAMILIES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "llava": llava,
    "llava_onevision": llava_onevision,
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "idefics2": idefics2,
    "internvl": internvl,
    "internvl3_5": internvl3_5,
    "qwen3_vl": qwen3_vl,
    "gemma3": gemma3,
}


def build(family: str, seed: int = 0) -> tuple[Any, Any]:
    """A backbone whose answers differ from question to question, and its processor."""
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    backbone, processor = FAMILIES[family]()
    # Random weights at their usual scale give nearly equal answers.
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(std=0.2)
    torch.set_rng_state(state)
    return backbone.eval(), processor


def model(family: str = "llava", **options: Any) -> GenerativeModel:
    """A tiny model of a family, ready to judge."""
    return GenerativeModel(*build(family), f"tiny-{family}", **options)


def write(directory: Path, family: str = "llava", seed: int = 0) -> Path:
    """Save a tiny model as transformers does."""
    backbone, processor = build(family, seed)
    backbone.save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory


def pictures(count: int, seed: int = 0) -> list[Image.Image]:
    """Different pictures of several shapes."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(40, 56), (56, 40), (33, 33), (60, 30)]
    return [_picture(*shapes[index % len(shapes)], generator) for index in range(count)]


def _picture(height: int, width: int, generator: torch.Generator) -> Image.Image:
    coarse = torch.rand((1, 3, 5, 5), generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return Image.fromarray((smooth[0].permute(1, 2, 0) * 255).to(torch.uint8).numpy())


def _chat(image: str) -> str:
    return _CHAT.replace("IMAGE", image.replace("\n", "\\n"))
