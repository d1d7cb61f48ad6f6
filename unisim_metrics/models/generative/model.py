"""Vision-language models that judge by the letter with which they would answer (paper, Sections 3.3 and C)."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, get_args

import torch
from torch import Tensor, nn
from typing_extensions import Self

from unisim_metrics.models.answering import Way
from unisim_metrics.models.evaluation import evaluation_mode, own_precision
from unisim_metrics.models.generative.chat import Chat, Prompt
from unisim_metrics.models.generative.illustrated import Inputs, SharedImages, WholePrompts, encodes_apart
from unisim_metrics.models.generative.instructions import (
    Demonstration,
    ask,
    instructions_hash,
    list_items,
    parse_letter,
    solve,
)
from unisim_metrics.models.generative.pictures import preparation
from unisim_metrics.models.hashing import hash_weights, weights_state
from unisim_metrics.prompts import check_prompts
from unisim_metrics.tasks import TASKS, check_method, check_task, modalities

if TYPE_CHECKING:
    from unisim_metrics.prompts import PromptsLike
    from unisim_metrics.tasks import Method, Task

Mode = Literal["letters", "generate"]

_BATCH_ON_CPU = 8
_BATCH_ON_ACCELERATOR = 32
# As in the authors' code. Greedy: the paper's protocol draws nothing at random.
NEW_TOKENS = 512


class GenerativeModel(nn.Module):
    """A model of `AutoModelForImageTextToText` as a perceptual model.

    It is asked the question of the task (paper, Table 7) about all alternatives at once, and answers by a letter.
    The score of an alternative is the log-probability of its letter as the next token, over the whole vocabulary:
    one forward pass, no text is generated.

    It has no embeddings: it compares alternatives, and cannot score a single image. Parameters receive no gradients.

    Args:
        backbone: The model of transformers.
        processor: Its processor, with a chat template.
        name: What the signature calls the model.
        batch_size: How many questions pass through the model at a time; 8 on a CPU, 32 elsewhere by default. It does
            not change the result.
        mode: `"letters"`, or `"generate"` for the paper's protocol: a text is generated, and read by a strict parser.
            Scores are then 1 and 0, and NaN for all alternatives of a question whose answer is no letter.
        debias: Whether to ask once for every rotation of the alternatives, each of which then stands once in every
            place, and to average: a preference for a letter cancels out.
        demonstrations: Solved samples that are shown before every question, `(reference, alternatives, label)`.

    Raises:
        ValueError: If the processor has no chat template, the tokenizer writes a letter as several tokens, or an
            argument is out of its range.
    """

    embeds = False
    tasks: ClassVar[Mapping[Task, Way]] = dict.fromkeys(TASKS, "choices")

    def __init__(
        self,
        backbone: nn.Module,
        processor: Any,
        name: str,
        *,
        batch_size: int | None = None,
        mode: Mode = "letters",
        debias: bool = False,
        demonstrations: Sequence[Demonstration] = (),
    ) -> None:
        super().__init__()
        if mode not in get_args(Mode):
            raise ValueError(f"Argument `mode` must be one of {get_args(Mode)}, but got {mode!r}.")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"Argument `batch_size` must be at least 1, but got {batch_size}.")
        self.backbone = backbone
        self.processor = processor
        self.name = name
        self.batch_size = batch_size
        self.mode: Mode = mode
        self.debias = debias
        self.demonstrations = tuple(demonstrations)
        self.training = False
        if processor.tokenizer.pad_token_id is None:
            processor.tokenizer.pad_token = processor.tokenizer.eos_token
        config: Any = backbone.config
        is_qwen = config.model_type == "llava" and config.get_text_config().model_type == "qwen2"
        self.chat = Chat(processor, name, interleaved=is_qwen)
        self._hash: tuple[object, str] | None = None

    # What every model offers.

    @property
    def device(self) -> torch.device:
        """Where the weights are, or the first of them."""
        return next(self.backbone.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the weights."""
        return next(self.backbone.parameters()).dtype

    @property
    def input_tag(self) -> str:
        """What is asked and how the answer is read, for the signature: ``"llava-1a2b3c4d/letters/debias/3-shot"``.

        The digits stand for the wording of all questions, the chat template and the preparation of images.
        """
        images = preparation(self.processor.image_processor)
        text = json.dumps([instructions_hash(), self.chat.template, images], sort_keys=True, default=str)
        config: Any = self.backbone.config
        parts = [f"{config.model_type}-{hashlib.sha256(text.encode()).hexdigest()[:8]}", self.mode]
        if type(self.processor.image_processor).__name__.endswith("Pil"):
            parts.append("pil")
        if self.debias:
            parts.append("debias")
        if self.demonstrations:
            parts.append(f"{len(self.demonstrations)}-shot")
        return "/".join(parts)

    def weights_hash(self) -> str:
        """SHA-256, in hex, of the weights. It is computed once and again after a weight has changed."""
        state = weights_state(self.backbone)
        if self._hash is None or self._hash[0] != state:
            self._hash = (state, hash_weights(self.backbone.state_dict()))
        return self._hash[1]

    def embed_images(self, images: Any) -> NoReturn:
        """Refuse: a generative model has no embeddings.

        Raises:
            ValueError: Always.
        """
        self._refuse_embedding()

    def embed_texts(self, texts: Any) -> NoReturn:
        """Refuse: a generative model has no embeddings.

        Raises:
            ValueError: Always.
        """
        self._refuse_embedding()

    def count_truncated(self, texts: str | Sequence[str]) -> int:
        """Nought: a question that is longer than the context is an error, and no text is ever cut."""
        return 0

    @torch.no_grad()
    def compare(
        self,
        references: Any,
        alternatives: Any,
        task: Task | None = None,
        method: Method = "naive",
        prompts: PromptsLike = None,
        demonstrations: Sequence[Demonstration] | None = None,
    ) -> Tensor:
        """Score `N` alternatives against each of `B` references.

        Args:
            references: The `B` references, images or texts; None for quality, attributes and odd-one-out.
            alternatives: For each reference its `N` alternatives.
            task: One of the tasks' names; inferred from what is passed if None.
            method: `"naive"`: what the paper asks a generative model is fixed.
            prompts: None, for the same reason.
            demonstrations: Solved samples of the task to be shown before every question, `(reference, alternatives,
                label)`; the model's own if None.

        Returns:
            Scores `[B, N]`, float32: log-probabilities, higher is closer. NaN where a smaller group has no
            alternative, and where a generated text is no answer.

        Raises:
            ValueError: If the inputs do not fit together or do not tell the task, there are more alternatives than
                letters, or a question is longer than the model's context.
            TypeError: If something is neither image nor text.
        """
        from unisim_metrics.models.comparing import check_groups

        task, sizes = check_groups(alternatives, references, check_task(task))
        self._check_method(method, prompts)
        first, second = modalities(task)
        groups = [
            list_items(group, first, f"alternatives[{index}]") for index, group in enumerate(alternatives)
        ]
        targets = [None] * len(groups) if second is None else list_items(references, second, "references")
        shown = self.demonstrations if demonstrations is None else demonstrations
        solved = [solve(task, demonstration, index) for index, demonstration in enumerate(shown)]
        orders = [self._orders(size) for size in sizes]
        questions = [
            self.chat.prompt(ask(task, target, [group[place] for place in order]), solved)
            for target, group, rotations in zip(targets, groups, orders, strict=True)
            for order in rotations
        ]
        answers = iter(self._answer(questions))
        scores = [
            # Back from the order of the letters, and the mean over those orders that were answered.
            torch.stack([next(answers)[torch.tensor(order).argsort()] for order in rotations]).nanmean(dim=0)
            for rotations in orders
        ]
        return nn.utils.rnn.pad_sequence(scores, batch_first=True, padding_value=torch.nan).to(self.device)

    def with_demonstrations(self, demonstrations: Sequence[Demonstration]) -> Self:
        """This model, on the same weights, with solved samples before every question and in its signature.

        Args:
            demonstrations: Samples of the task that will be asked about, `(reference, alternatives, label)`.
        """
        other = copy.copy(self)
        other.demonstrations = tuple(demonstrations)
        return other

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the weights, or convert them, and return the model itself.

        Raises:
            ValueError: If the weights are spread over several devices: they stay where they are.
        """
        devices = set(getattr(self.backbone, "hf_device_map", {}).values())
        if len(devices) > 1:
            raise ValueError(
                f"Model {self.name!r} is spread over the devices {sorted(map(str, devices))} and cannot be moved: load"
                " it with `device=` instead of `device_map=`."
            )
        return super().to(*args, **kwargs)

    def train(self, mode: bool = True) -> Self:
        """Keep evaluation mode, whatever ``mode``; a user's module that is shared keeps its own."""
        return self

    # How it answers.

    def _answer(self, prompts: Sequence[Prompt]) -> list[Tensor]:
        """The scores of each prompt's options, in the order of the options, on the CPU."""
        size = self.batch_size or (_BATCH_ON_CPU if self.device.type == "cpu" else _BATCH_ON_ACCELERATOR)
        # Prompts of like length share a pass, so that a long one does not lengthen all.
        order = sorted(
            range(len(prompts)), key=lambda index: (len(prompts[index].images), len(prompts[index].text))
        )
        batches = [
            [prompts[index] for index in order[start : start + size]] for start in range(0, len(order), size)
        ]
        reader = (SharedImages if encodes_apart(self.backbone) else WholePrompts)(
            self.backbone, self.processor
        )
        answer = self._read_letters if self.mode == "letters" else self._generate
        with own_precision(), evaluation_mode(self.backbone):
            scores = [row for asked, inputs in reader.read(batches) for row in answer(asked, inputs)]
        return [row for _, row in sorted(zip(order, scores, strict=True), key=lambda pair: pair[0])]

    def _read_letters(self, prompts: Sequence[Prompt], inputs: Inputs) -> list[Tensor]:
        # Classes with positions in space compute them from the mask; others count padding unless they are told.
        if "mm_encoder_outputs" in inputs and "mm_token_type_ids" not in inputs:
            inputs["position_ids"] = (inputs["attention_mask"].cumsum(dim=-1) - 1).clamp_min(0)
        logits: Tensor = self.backbone(**inputs, logits_to_keep=1, use_cache=False).logits[:, -1].float()
        # What the model never writes, a token that stands for a vector of images for example.
        config: Any = self.backbone.generation_config
        logits[:, config.suppress_tokens or []] = -torch.inf
        letters = logits.log_softmax(dim=-1)[:, self.chat.letters].cpu()
        if not bool(letters.isfinite().all()):
            raise ValueError(
                f"Model {self.name!r} gave scores that are not finite: load it with `dtype=torch.float32`."
            )
        return [row[: prompt.count] for row, prompt in zip(letters, prompts, strict=True)]

    def _generate(self, prompts: Sequence[Prompt], inputs: Inputs) -> list[Tensor]:
        generate: Any = self.backbone.generate
        ids = generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False, num_beams=1)
        texts = self.processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        scores = []
        for text, prompt in zip(texts, prompts, strict=True):
            choice = parse_letter(text, prompt.count)
            row = torch.full((prompt.count,), torch.nan if choice is None else 0.0)
            if choice is not None:
                row[choice] = 1.0
            scores.append(row)
        return scores

    def _orders(self, count: int) -> list[list[int]]:
        """The orders in which a question shows its alternatives: as they come, or rotated."""
        places = list(range(count))
        return [places[shift:] + places[:shift] for shift in range(count if self.debias else 1)]

    def _check_method(self, method: Method, prompts: PromptsLike) -> None:
        if check_method(method) != "naive":
            raise ValueError(
                f"Argument `method` must be 'naive' for the generative model {self.name!r}, which compares images with"
                f" each other and not with prompts, but got {method!r}."
            )
        if check_prompts(prompts) is not None:
            raise ValueError(
                f"Argument `prompts` must be None for the generative model {self.name!r}, whose questions are fixed,"
                f" but got {prompts!r}."
            )

    def _refuse_embedding(self) -> NoReturn:
        raise ValueError(
            f"Model {self.name!r} is generative: it chooses among alternatives, and has neither embeddings nor a score"
            " for an image alone. Use `UniSimRanking` or `unisim_rank` with two or more alternatives, or an encoder"
            " such as 'unisim-vit-l-14'."
        )
