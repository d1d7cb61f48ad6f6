"""What it costs to read an answer's letter, next to generating the answer, as ratios within one run.

    python -m docs.experiments.speed.generative

The model is a LLaVA with random weights, on which speed does not depend: 256 tokens an image, three images a question.
Every candidate of a comparison runs in turn in the same process, and the medians are divided.
"""

from __future__ import annotations

import argparse
import os
import platform
import warnings
from typing import Any

import numpy as np
import torch
from PIL import Image

from unisim_metrics.benchmark.costs.efficiency import medians
from unisim_metrics.models.generative.illustrated import SharedImages
from unisim_metrics.models.generative.instructions import LETTERS, ask
from unisim_metrics.models.generative.model import NEW_TOKENS, GenerativeModel
from unisim_metrics.tasks import TASKS

from .scoring import Row, table

SIDE, PATCH = 224, 14
BATCH = 8


def build_model() -> GenerativeModel:
    """A LLaVA of SigLIP and Qwen2, small enough that a run takes minutes, with a tokenizer of its own."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    classes: Any = transformers
    special = ["<unk>", "<|im_end|>", "<|im_start|>", "<image>"]
    core: Any = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    texts = [part for task in TASKS for part in ask(task, "a", ["a"] * 3).parts if isinstance(part, str)]
    core.train_from_iterator(
        [*texts, *LETTERS],
        trainers.BpeTrainer(
            vocab_size=1000,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    words = classes.PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        additional_special_tokens=special[1:],
    )
    config = classes.LlavaConfig(
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": 128,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "image_size": SIDE,
            "patch_size": PATCH,
            "vision_use_head": False,
        },
        text_config={
            "model_type": "qwen2",
            "hidden_size": 128,
            "intermediate_size": 352,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            # What reading all logits costs depends on it; Qwen's 151,936 would take gigabytes.
            "vocab_size": 32_000,
            "tie_word_embeddings": True,
        },
        image_token_id=words.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    )
    processor = classes.LlavaProcessor(
        classes.SiglipImageProcessor(size={"height": SIDE, "width": SIDE}),
        words,
        patch_size=PATCH,
        vision_feature_select_strategy="full",
    )
    backbone = classes.LlavaForConditionalGeneration(config).eval().requires_grad_(False)
    return GenerativeModel(backbone, processor, "speed", batch_size=BATCH)


def photos(count: int) -> list[Image.Image]:
    """Crops of 512×384 pixels of the photographs that ship inside scikit-image."""
    import skimage.data

    data: Any = skimage.data
    sources = [
        Image.fromarray(np.asarray(photo)) for photo in (data.astronaut(), data.chelsea(), data.coffee())
    ]
    rng = np.random.default_rng(0)
    crops = []
    for index in range(count):
        photo = sources[index % len(sources)]
        left, top = rng.uniform(0, photo.width / 4), rng.uniform(0, photo.height / 4)
        box = (left, top, left + photo.width * 3 / 4, top + photo.height * 3 / 4)
        crops.append(photo.resize((512, 384), Image.Resampling.BICUBIC, box=box))
    return crops


def measure(rounds: int) -> list[Row]:
    """Time one batch of questions about triplets in each way."""
    model = build_model()
    backbone: Any = model.backbone
    shown = photos(3 * BATCH)
    triplets = [(shown[3 * row], shown[3 * row + 1 : 3 * row + 3]) for row in range(BATCH)]
    prompts = [model.chat.prompt(ask("image-image", reference, pair)) for reference, pair in triplets]
    reader = SharedImages(backbone, model.processor)
    texts, nested = [prompt.text for prompt in prompts], [list(prompt.images) for prompt in prompts]

    def process(count: int = BATCH) -> Any:
        return model.processor(
            text=texts[:count], images=nested[:count], padding=True, padding_side="left", return_tensors="pt"
        )

    ready, single = process(), process(1)
    with torch.no_grad():
        ((_, encoded),) = reader.read([prompts])
    output = encoded.pop("mm_encoder_outputs")

    def generate(inputs: Any, tokens: int) -> Any:
        return backbone.generate(**inputs, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)

    @torch.no_grad()
    def forward(**options: Any) -> Any:
        return backbone(**encoded, mm_encoder_outputs=dict(output), use_cache=False, **options)

    references, groups = [reference for reference, _ in triplets], [pair for _, pair in triplets]
    debiased = GenerativeModel(backbone, model.processor, "debiased", batch_size=BATCH, debias=True)
    seconds = medians(
        {
            "letters": lambda: forward(logits_to_keep=1),
            "all logits": forward,
            "generate 1": lambda: generate(ready, 1),
            "generate 1 alone": lambda: generate(single, 1),
            "compare": lambda: model.compare(references, groups),
            "process and generate 1": lambda: generate(process(), 1),
            "debias": lambda: debiased.compare(references, groups),
        },
        rounds,
    )
    letters = seconds["letters"]
    # Takes some thirty times as long: a few rounds tell enough.
    long = medians(
        {
            "letters": lambda: forward(logits_to_keep=1),
            "generate": lambda: generate(ready, NEW_TOKENS),
            "generate alone": lambda: generate(single, NEW_TOKENS),
        },
        max(1, rounds // 5),
    )
    return [
        # The reference implementation generates for one question at a time.
        Row(
            "letters, images encoded before / generate(1) alone",
            letters / BATCH / seconds["generate 1 alone"],
            0.70,
        ),
        Row(
            f"letters, images encoded before / generate({NEW_TOKENS}) alone",
            long["letters"] / BATCH / long["generate alone"],
            0.03,
        ),
        Row("letters, images encoded before / generate(1) in a batch", letters / seconds["generate 1"], 1.0),
        Row(
            f"letters, images encoded before / generate({NEW_TOKENS}) in a batch",
            long["letters"] / long["generate"],
            1.0,
        ),
        Row("letters: last logits / all logits", letters / seconds["all logits"], 1.0),
        Row(
            "`compare`, all included / processor and generate(1)",
            seconds["compare"] / seconds["process and generate 1"],
            1.0,
        ),
        Row("`compare` in both orders / in one", seconds["debias"] / seconds["compare"], 2.0),
    ]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=10, help="how often every candidate runs")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of torch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore")
    rows = measure(arguments.rounds)
    print(f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {arguments.threads} threads,")
    print(f"load average {os.getloadavg()[0]:.1f}, torch {torch.__version__}, {arguments.rounds} rounds,")
    print(f"{BATCH} triplets a batch\n")
    print(table([rows]))


if __name__ == "__main__":
    main()
