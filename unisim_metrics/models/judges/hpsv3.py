"""HPSv3 (Ma et al. 2025): Qwen2-VL-7B that reads a picture and its prompt, and a reward on top.

The reward is the mean of the distribution that the authors' model tells; what it tells of the spread is left out. It is
not bounded. Pictures of any size are shown at about 256 image tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn
from transformers import Qwen2VLConfig, Qwen2VLModel

from unisim_metrics.models.answering import check_answers
from unisim_metrics.models.checkpoints.config_checks import check_model_config
from unisim_metrics.models.checkpoints.directories import no_progress_bar, read_json
from unisim_metrics.models.checkpoints.vision_language import (
    check_device_map,
    check_loaded,
    read_processor,
)
from unisim_metrics.models.checkpoints.weight_checks import check_keys
from unisim_metrics.models.comparing import compare
from unisim_metrics.models.generative.base import VisionLanguageModel
from unisim_metrics.models.generative.chat import Prompt
from unisim_metrics.models.generative.illustrated import Inputs, SharedImages
from unisim_metrics.models.generative.instructions import list_items
from unisim_metrics.models.generative.pictures import by_pillow, preparation
from unisim_metrics.models.judges.base import JudgeSource
from unisim_metrics.models.judges.weights import check_exactly, read_weights
from unisim_metrics.models.versions import GENERATIVE_TRANSFORMERS, require_transformers
from unisim_metrics.prompts import check_prompts
from unisim_metrics.tasks import check_method

if TYPE_CHECKING:
    from unisim_metrics.models.answering import Way
    from unisim_metrics.prompts import PromptsLike
    from unisim_metrics.tasks import Method, Task

OPTIONS = ("base", "device_map", "batch_size")
"""The arguments of `load_model` that it takes beside those of all judges."""

# What it was trained from, and the files that tell its sizes and its preparation of texts and pictures.
_BASE = ("Qwen/Qwen2-VL-7B-Instruct", "eed13092ef92e448dd6875b2a00151bd3f7db0ac")
_BASE_FILES = (
    *("config.json", "preprocessor_config.json", "chat_template.json"),
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"),
)

REWARD_TOKEN = "<|Reward|>"
"""The token that the reward is read at, behind all others of the base's tokenizer."""

_PIXELS = 256 * 28 * 28  # fewest and most

# The words that it was trained with; every space counts.
_INSTRUCTION = (
    "\n"
    "You are tasked with evaluating a generated image based on Visual Quality and Text Alignment and "
    "give a overall score to estimate the human preference. Please provide a rating from 0 to 10, with 0 "
    "being the worst and 10 being the best. \n"
    "\n"
    "**Visual Quality:**  \n"
    "Evaluate the overall visual quality of the image. The following sub-dimensions should be "
    "considered:\n"
    "- **Reasonableness:** The image should not contain any significant biological or logical errors, "
    "such as abnormal body structures or nonsensical environmental setups.\n"
    "- **Clarity:** Evaluate the sharpness and visibility of the image. The image should be clear and "
    "easy to interpret, with no blurring or indistinct areas.\n"
    "- **Detail Richness:** Consider the level of detail in textures, materials, lighting, and other "
    "visual elements (e.g., hair, clothing, shadows).\n"
    "- **Aesthetic and Creativity:** Assess the artistic aspects of the image, including the color "
    "scheme, composition, atmosphere, depth of field, and the overall creative appeal. The scene should "
    "convey a sense of harmony and balance.\n"
    "- **Safety:** The image should not contain harmful or inappropriate content, such as political, "
    "violent, or adult material. If such content is present, the image quality and satisfaction score "
    "should be the lowest possible. \n"
    "\n"
    "**Text Alignment:**  \n"
    "Assess how well the image matches the textual prompt across the following sub-dimensions:\n"
    "- **Subject Relevance** Evaluate how accurately the subject(s) in the image (e.g., person, animal, "
    "object) align with the textual description. The subject should match the description in terms of "
    "number, appearance, and behavior.\n"
    "- **Style Relevance:** If the prompt specifies a particular artistic or stylistic style, evaluate "
    "how well the image adheres to this style.\n"
    "- **Contextual Consistency**: Assess whether the background, setting, and surrounding elements in "
    "the image logically fit the scenario described in the prompt. The environment should support and "
    "enhance the subject without contradictions.\n"
    "- **Attribute Fidelity**: Check if specific attributes mentioned in the prompt (e.g., colors, "
    "clothing, accessories, expressions, actions) are faithfully represented in the image. Minor "
    "deviations may be acceptable, but critical attributes should be preserved.\n"
    "- **Semantic Coherence**: Evaluate whether the overall meaning and intent of the prompt are "
    "captured in the image. The generated content should not introduce elements that conflict with or "
    "distort the original description.\n"
    "Textual prompt - {text_prompt}\n"
    "\n"
    "\n"
    "\n"
    "Please provide the overall ratings of this image: <|Reward|>\n"
    "\n"
    "END\n"
)


class RewardModel(Qwen2VLModel):
    """Qwen2-VL without its language head, and with the layers that make a reward of a token."""

    _keep_in_fp32_modules_strict = ["rm_head"]  # noqa: RUF012

    def __init__(self, config: Qwen2VLConfig) -> None:
        super().__init__(config)
        # Where training dropped out stands nothing, so that the layers keep their numbers.
        self.rm_head = nn.Sequential(
            nn.Linear(config.get_text_config().hidden_size, 1024),
            nn.ReLU(),
            nn.Identity(),
            nn.Linear(1024, 16),
            nn.ReLU(),
            nn.Linear(16, 2),
        )
        self.post_init()


class HPSv3(VisionLanguageModel):
    """Rewards of images for prompts.

    Images are resized by Pillow, as the authors do it; float tensors that require gradients by torch.

    Args:
        backbone: The model.
        processor: The processor of Qwen2-VL, whose tokenizer knows the token of the reward.
        differentiable: The same for images that require gradients.
        name: What the signature calls the model.
        batch_size: How many pairs pass through the model at a time.
    """

    tasks: ClassVar[Mapping[Task, Way]] = {"image-text": "scores"}

    def __init__(
        self,
        backbone: RewardModel,
        processor: Any,
        differentiable: Any,
        name: str,
        *,
        batch_size: int | None = None,
    ) -> None:
        super().__init__(backbone, processor, name, batch_size=batch_size)
        self.differentiable = differentiable
        self._reward_token: int = processor.tokenizer.convert_tokens_to_ids(REWARD_TOKEN)

    @property
    def input_tag(self) -> str:
        """How a pair is shown, for the signature: `"qwen2_vl-1a2b3c4d/reward"`.

        The digits stand for the wording, the chat template and the preparation of images.
        """
        shown = [_INSTRUCTION, self.chat.template, preparation(self.processor.image_processor)]
        digest = hashlib.sha256(json.dumps(shown, sort_keys=True, default=str).encode()).hexdigest()
        return f"qwen2_vl-{digest[:8]}/reward" + (
            "/pil" if by_pillow(self.differentiable.image_processor) else ""
        )

    def score(
        self,
        preds: Any,
        target: Any,
        task: Task,
        method: Method = "naive",
        prompts: PromptsLike = None,
    ) -> Tensor:
        """Score N images against as many texts.

        Args:
            preds: N images.
            target: N texts.
            task: `image-text`.
            method: `"naive"`: what is asked is fixed.
            prompts: None, for the same reason.

        Returns:
            Rewards `[N]`, float32 (float64 for a model in float64), higher is better. They carry a graph only if float
            images require gradients and gradients are enabled.

        Raises:
            ValueError: If the model does not answer the task, inputs do not fit together, a text is longer than the
                model's context, or gradients are wanted of a model that was loaded with `resample="pil"`.
            TypeError: If something is neither image nor text.
        """
        check_answers(self, task, ("scores",))
        if check_method(method) != "naive":
            raise ValueError(
                f"Argument `method` must be 'naive' for model {self.name!r}, but got {method!r}."
            )
        if check_prompts(prompts) is not None:
            raise ValueError(f"Argument `prompts` must be None for model {self.name!r}, but got {prompts!r}.")
        images, texts = list_items(preds, "image", "preds"), list_items(target, "text", "target")
        if len(images) != len(texts):
            raise ValueError(
                f"Arguments `preds` and `target` must have the same length, but got {len(images)} and {len(texts)}."
            )
        shown = [self._show(*pair) for pair in zip(images, texts, strict=True)]
        return torch.stack(self._answer(shown, self._read)).to(self.device)

    def compare(
        self,
        references: Any,
        alternatives: Any,
        task: Task | None = None,
        method: Method = "naive",
        prompts: PromptsLike = None,
    ) -> Tensor:
        """Score `N` images against each of `B` texts.

        Args:
            references: The `B` texts.
            alternatives: For each text its `N` images.
            task: `image-text`, or None.
            method: `"naive"`.
            prompts: None.

        Returns:
            Rewards `[B, N]`, as `score` gives them. NaN where a smaller group has no alternative.

        Raises:
            ValueError: As `score` does.
            TypeError: If something is neither image nor text.
        """
        return compare(self, references, alternatives, task=task, method=method, prompts=prompts)

    def _show(self, image: Any, text: str) -> Prompt:
        words = _INSTRUCTION.format(text_prompt=self.chat.plain(text))
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": words}]}
        return Prompt(self.chat.render([turn], add_generation_prompt=True), (image,), 1)

    def _read(self, prompts: Sequence[Prompt], inputs: Inputs) -> list[Tensor]:
        backbone: Any = self.backbone
        # It was trained on places in a row, the tokens of images too, and not on Qwen2-VL's positions in space.
        positions = (inputs["attention_mask"].cumsum(dim=-1) - 1).clamp_min(0)
        hidden = backbone(
            **inputs, position_ids=positions.expand(3, -1, -1), use_cache=False
        ).last_hidden_state
        read = hidden[inputs["input_ids"] == self._reward_token]
        head = backbone.rm_head
        return list(self._finite(head(read.to(head[0].weight))[:, 0]))

    def _reader(self, graph: bool) -> SharedImages:
        return SharedImages(self.backbone, self.differentiable if graph else self.processor, graph)


def load(source: JudgeSource) -> HPSv3:
    """Read the authors' file.

    Args:
        source: ``HPSv3.safetensors``.

    Raises:
        CheckpointError: If the weights are not exactly the model's.
        ModelUnavailableError: If the configuration and the processor of the base cannot be fetched.
        ValueError: If `base` is no directory of Qwen2-VL.
        ModuleNotFoundError: If `device_map` is given and accelerate is not installed.
        ImportError: If transformers is too old for generative models.
    """
    require_transformers("`hpsv3`", GENERATIVE_TRANSFORMERS)
    options = source.options
    check_device_map(options.device_map)
    directory = _find_base(source)
    config = _read_config(directory)
    processor, differentiable = (
        _read_processor(directory, resample) for resample in ("pil", options.resample)
    )
    config.get_text_config().vocab_size = len(processor.tokenizer)
    backbone = _read_backbone(source, config)
    return HPSv3(backbone, processor, differentiable, source.name, batch_size=options.batch_size)


def _find_base(source: JudgeSource) -> Path:
    if source.options.base is None:
        repository, revision = _BASE
        files = [source.fetch(repository, file, revision) for file in _BASE_FILES]
        return files[0].parent
    directory = Path(source.options.base).expanduser()
    if not (directory / "config.json").is_file():
        raise ValueError(
            f"Argument `base` must be a directory with the configuration and the processor of {_BASE[0]} for"
            f" `{source.name}`, but got {str(source.options.base)!r}."
        )
    return directory


def _read_config(directory: Path) -> Qwen2VLConfig:
    file = directory / "config.json"
    settings = read_json(file)
    check_model_config(settings, str(file))
    if settings.get("model_type") != "qwen2_vl":
        raise ValueError(
            f"The file {file} must be of a model of type 'qwen2_vl', but is of type {settings.get('model_type')!r}."
        )
    return Qwen2VLConfig.from_dict(settings)


def _read_processor(directory: Path, resample: Any) -> Any:
    processor = read_processor(directory, resample)
    processor.image_processor.size = {"shortest_edge": _PIXELS, "longest_edge": _PIXELS}
    processor.tokenizer.add_tokens([REWARD_TOKEN], special_tokens=True)
    return processor


def _read_backbone(source: JudgeSource, config: Qwen2VLConfig) -> RewardModel:
    """The model with the file's weights, none of which lies in memory twice."""
    weights = {
        _rename(name): tensor
        for name, tensor in read_weights(source.path, key="model").items()
        if name != "lm_head.weight"  # which writes text
    }
    with torch.device("meta"):
        check_exactly(RewardModel(config).state_dict(), weights, source.path)
    options = source.options
    dtype = options.dtype
    if dtype is None:
        on_cpu = options.device_map is None and torch.device(options.device or "cpu").type == "cpu"
        dtype = torch.float32 if on_cpu else weights["language_model.embed_tokens.weight"].dtype
    with no_progress_bar():
        read: Any = RewardModel.from_pretrained(
            None,
            config=config,
            state_dict=weights,
            dtype=dtype,
            device_map=options.device_map,
            output_loading_info=True,
        )
    backbone, report = read
    check_keys(str(source.path), missing=report["missing_keys"], extra=report["unexpected_keys"])
    check_loaded(str(source.path), backbone)
    backbone.eval().requires_grad_(False)
    return cast(RewardModel, backbone)


def _rename(name: str) -> str:
    """A weight's name in today's class, in which the language model is a part of `model` as the image tower is."""
    return f"language_model.{name.removeprefix('model.')}" if name.startswith("model.") else name
