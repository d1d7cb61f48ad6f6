"""Vision-language models that judge by the word with which they would answer (paper, Sections 3.3 and C)."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn
from typing_extensions import Self

from unisim_metrics.models.answering import Way, check_answers
from unisim_metrics.models.generative.base import VisionLanguageModel
from unisim_metrics.models.generative.chat import Prompt
from unisim_metrics.models.generative.illustrated import Inputs
from unisim_metrics.models.generative.instructions import (
    Demonstration,
    ask,
    instructions_hash,
    list_items,
    parse_letter,
    solve,
)
from unisim_metrics.models.generative.pictures import by_pillow, preparation
from unisim_metrics.models.generative.ratings import RATINGS, ask_about, ratings_hash
from unisim_metrics.prompts import check_prompts
from unisim_metrics.tasks import TASKS, check_method, check_task, modalities

if TYPE_CHECKING:
    from unisim_metrics.prompts import PromptsLike
    from unisim_metrics.tasks import Method, Task

Mode = Literal["letters", "generate", "yes-no"]

# As in the authors' code. Greedy: the paper's protocol draws nothing at random.
NEW_TOKENS = 512


class GenerativeModel(VisionLanguageModel):
    """A model of `AutoModelForImageTextToText` as a perceptual model.

    To compare, it is asked the question of the task (paper, Table 7) about all alternatives at once, and answers by a
    letter. The score of an alternative is the log-probability of its letter as the next token, over the whole
    vocabulary: one forward pass, no text is generated.

    To score one picture, against a text or by its quality, it is asked about that picture alone, and answers yes or no,
    or by a word for its quality: the score, in [0, 1], is the expectation of what the words count
    (`unisim_metrics.models.generative.ratings`). Gradients flow to float images that require them.

    It has no embeddings. Parameters receive no gradients.

    Args:
        backbone: The model of transformers.
        processor: Its processor, with a chat template.
        name: What the signature calls the model.
        batch_size: How many questions pass through the model at a time; 8 on a CPU, 32 elsewhere by default. It does
            not change the result.
        mode: How it compares: `"letters"`, or `"generate"` for the paper's protocol: a text is generated, and read by a
            strict parser. Scores are then 1 and 0, and NaN for all alternatives of a question whose answer is no
            letter. `"yes-no"`: each alternative is scored alone where the task allows it, else by letters.
        debias: Whether to ask once for every rotation of the alternatives, each of which then stands once in every
            place, and to average: a preference for a letter cancels out.
        demonstrations: Solved samples that are shown before every question, `(reference, alternatives, label)`.

    Raises:
        ValueError: If the processor has no chat template, the tokenizer writes a letter as several tokens, or an
            argument is out of its range.
    """

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
        if mode not in get_args(Mode):
            raise ValueError(f"Argument `mode` must be one of {get_args(Mode)}, but got {mode!r}.")
        _check_mode(mode, demonstrations)
        super().__init__(backbone, processor, name, batch_size=batch_size)
        self.mode: Mode = mode
        self.debias = debias
        self.demonstrations = tuple(demonstrations)

    # What every model offers.

    @property
    def tasks(self) -> Mapping[Task, Way | tuple[Way, ...]]:
        """The tasks that it answers, each with its ways; after demonstrations, which are solved choices, by choices."""
        if self.demonstrations:
            return dict.fromkeys(TASKS, "choices")
        alone: tuple[Way, ...] = ("scores",) if self.mode == "yes-no" else ("choices", "scores")
        return {task: alone if task in RATINGS else ("choices",) for task in TASKS}

    @property
    def input_tag(self) -> str:
        """What is asked to compare and how the answer is read, for the signature: `"llava-1a2b3c4d/letters/debias"`.

        The digits stand for the wording of all questions, the chat template and the preparation of images.
        """
        return self.tag_of("scores" if self.mode == "yes-no" else "choices")

    def tag_of(self, way: Way) -> str:
        """What is asked where it answers in a way, `"choices"` or `"scores"`, as `input_tag` has it."""
        choices = way == "choices"
        images = preparation(self.processor.image_processor)
        wording = instructions_hash() if choices else ratings_hash()
        text = json.dumps([wording, self.chat.template, images], sort_keys=True, default=str)
        config: Any = self.backbone.config
        parts = [f"{config.model_type}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"]
        parts.append(("generate" if self.mode == "generate" else "letters") if choices else "yes-no")
        if by_pillow(self.processor.image_processor):
            parts.append("pil")
        if choices and self.debias:
            parts.append("debias")
        if choices and self.demonstrations:
            parts.append(f"{len(self.demonstrations)}-shot")
        return "/".join(parts)

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
            Scores `[B, N]`, float32: log-probabilities, higher is closer; in mode `"yes-no"` those of `score`, where
            it answers the task. NaN where a smaller group has no alternative, and where a generated text is no answer.

        Raises:
            ValueError: If the inputs do not fit together or do not tell the task, there are more alternatives than
                letters, or a question is longer than the model's context.
            TypeError: If something is neither image nor text.
        """
        from unisim_metrics.models.comparing import check_groups, compare

        task, sizes = check_groups(alternatives, references, check_task(task))
        self._check_method(method, prompts)
        if check_answers(self, task) == "scores":
            _check_mode(self.mode, demonstrations or ())
            return compare(self, references, alternatives, task)
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
        answers = iter(
            self._answer(questions, self._generate if self.mode == "generate" else self._read_letters)
        )
        scores = [
            # Back from the order of the letters, and the mean over those orders that were answered.
            torch.stack([next(answers)[torch.tensor(order).argsort()] for order in rotations]).nanmean(dim=0)
            for rotations in orders
        ]
        return nn.utils.rnn.pad_sequence(scores, batch_first=True, padding_value=torch.nan).to(self.device)

    def score(
        self,
        preds: Any,
        target: Any,
        task: Task,
        method: Method = "naive",
        prompts: PromptsLike = None,
    ) -> Tensor:
        """Score N images or texts against as many others, or images by their quality, each by a question of its own.

        Args:
            preds: N images; for `caption` texts.
            target: N texts; for `caption` images; None for `quality`.
            task: `image-text`, `caption` or `quality`.
            method: `"naive"`: what is asked is fixed.
            prompts: None, for the same reason.

        Returns:
            Scores `[N]` in [0, 1], float32: P(yes) / (P(yes) + P(no)), or the expected rating. They carry a graph only
            if float images require gradients and gradients are enabled. Such images are prepared without rounding.

        Raises:
            ValueError: If the model does not answer the task so, inputs do not fit together, a question is longer than
                the model's context, or gradients are wanted that the model's classes do not carry.
            TypeError: If something is neither image nor text.
        """
        check_answers(self, task, ("scores",))
        self._check_method(method, prompts)
        rating = RATINGS[task]
        first, second = modalities(task)
        shown = list_items(preds, first, "preds")
        targets = [None] * len(shown) if second is None else list_items(target, second, "target")
        if len(shown) != len(targets):
            raise ValueError(
                f"Arguments `preds` and `target` must have the same length, but got {len(shown)} and {len(targets)}."
            )
        pairs = zip(targets, shown, strict=True) if first == "text" else zip(shown, targets, strict=True)
        questions = [
            self.chat.prompt(ask_about(task, image, text), start=rating.start) for image, text in pairs
        ]
        words = self.chat.word_tokens(rating.words, rating.start)
        weights = torch.tensor(rating.weights)

        def expect(prompts: Sequence[Prompt], inputs: Inputs) -> list[Tensor]:
            probabilities = self._next_logits(inputs)[:, words].softmax(dim=-1)
            return list(self._finite((probabilities * weights.to(probabilities.device)).sum(dim=-1)))

        return torch.stack(self._answer(questions, expect)).to(self.device)

    def with_demonstrations(self, demonstrations: Sequence[Demonstration]) -> Self:
        """This model, on the same weights, with solved samples before every question and in its signature.

        Args:
            demonstrations: Samples of the task that will be asked about, `(reference, alternatives, label)`.

        Raises:
            ValueError: If there are some, and the model compares by scores of one alone.
        """
        _check_mode(self.mode, demonstrations)
        other = copy.copy(self)
        other.demonstrations = tuple(demonstrations)
        return other

    # How it answers.

    def _next_logits(self, inputs: Inputs) -> Tensor:
        """The logits of the next token of each prompt, `[B, V]`, float32."""
        # Classes with positions in space compute them from the mask; others count padding unless they are told.
        if "mm_encoder_outputs" in inputs and "mm_token_type_ids" not in inputs:
            inputs["position_ids"] = (inputs["attention_mask"].cumsum(dim=-1) - 1).clamp_min(0)
        logits: Tensor = self.backbone(**inputs, logits_to_keep=1, use_cache=False).logits[:, -1].float()
        return logits

    def _read_letters(self, prompts: Sequence[Prompt], inputs: Inputs) -> list[Tensor]:
        logits = self._next_logits(inputs)
        # What the model never writes, a token that stands for a vector of images for example.
        config: Any = self.backbone.generation_config
        logits[:, config.suppress_tokens or []] = -torch.inf
        letters = self._finite(logits.log_softmax(dim=-1)[:, self.chat.letters]).cpu()
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


def _check_mode(mode: Mode, demonstrations: Sequence[Demonstration]) -> None:
    """Refuse solved choices for a model that does not choose."""
    if mode == "yes-no" and demonstrations:
        raise ValueError(
            f"Argument `demonstrations` must be empty in mode 'yes-no', which asks about each picture alone, but got"
            f" {len(demonstrations)}."
        )
