"""What vision-language models share that are asked about pictures: prompts in batches, in one pass each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, nn
from typing_extensions import Self

from unisim_metrics.models.evaluation import evaluation_mode, own_precision
from unisim_metrics.models.generative.chat import Chat, Prompt
from unisim_metrics.models.generative.illustrated import Inputs, SharedImages, WholePrompts, encodes_apart
from unisim_metrics.models.generative.pictures import no_gradients, requires_gradients
from unisim_metrics.models.hashing import hash_weights, weights_state

if TYPE_CHECKING:
    from unisim_metrics.prompts import PromptsLike
    from unisim_metrics.tasks import Method, Task

_BATCH_ON_CPU = 8
_BATCH_ON_ACCELERATOR = 32


class VisionLanguageModel(nn.Module):
    """A model of transformers that reads prompts with pictures in them.

    It has no embeddings. Parameters receive no gradients. A subclass says what it asks, and reads the answers.

    Args:
        backbone: The model of transformers.
        processor: Its processor, with a chat template.
        name: What the signature calls the model.
        batch_size: How many prompts pass through the model at a time; 8 on a CPU, 32 elsewhere by default. It does
            not change the result.

    Raises:
        ValueError: If the processor has no chat template, the tokenizer writes a letter as several tokens, or an
            argument is out of its range.
    """

    embeds = False

    def __init__(
        self, backbone: nn.Module, processor: Any, name: str, *, batch_size: int | None = None
    ) -> None:
        super().__init__()
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"Argument `batch_size` must be at least 1, but got {batch_size}.")
        self.backbone = backbone
        self.processor = processor
        self.name = name
        self.batch_size = batch_size
        self.training = False
        if processor.tokenizer.pad_token_id is None:
            processor.tokenizer.pad_token = processor.tokenizer.eos_token
        config: Any = backbone.config
        is_qwen = config.model_type == "llava" and config.get_text_config().model_type == "qwen2"
        self.chat = Chat(processor, name, interleaved=is_qwen, family=config.model_type)
        self._hash: tuple[object, str] | None = None

    # What a subclass says.

    @property
    def input_tag(self) -> str:
        """What is asked and how the answer is read, for the signature."""
        raise NotImplementedError

    def compare(
        self,
        references: Any,
        alternatives: Any,
        task: Task | None = None,
        method: Method = "naive",
        prompts: PromptsLike = None,
    ) -> Tensor:
        """Score `N` alternatives against each of `B` references: `[B, N]`, higher is closer."""
        raise NotImplementedError

    # What every model offers.

    @property
    def device(self) -> torch.device:
        """Where the weights are, or the first of them."""
        return next(self.backbone.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the weights."""
        return next(self.backbone.parameters()).dtype

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

    def _answer(
        self, prompts: Sequence[Prompt], read: Callable[[Sequence[Prompt], Inputs], list[Tensor]]
    ) -> list[Tensor]:
        """What `read` makes of each prompt, prompts whose pixels want gradients apart from others."""
        wants = [requires_gradients(prompt.images) for prompt in prompts]
        answers: dict[int, Tensor] = {}
        for graph in sorted(set(wants)):
            places = [place for place, wanted in enumerate(wants) if wanted == graph]
            answers.update(self._pass([(place, prompts[place]) for place in places], read, graph))
        return [answers[place] for place in range(len(prompts))]

    def _pass(
        self,
        prompts: Sequence[tuple[int, Prompt]],
        read: Callable[[Sequence[Prompt], Inputs], list[Tensor]],
        graph: bool,
    ) -> dict[int, Tensor]:
        """What `read` makes of each prompt, by its number."""
        size = self.batch_size or (_BATCH_ON_CPU if self.device.type == "cpu" else _BATCH_ON_ACCELERATOR)
        # Prompts of like length share a pass, so that a long one does not lengthen all.
        order = sorted(prompts, key=lambda item: (len(item[1].images), len(item[1].text)))
        batches = [
            [prompt for _, prompt in order[start : start + size]] for start in range(0, len(order), size)
        ]
        reader = self._reader(graph)
        # Without gradients no weight can receive one.
        with own_precision(), torch.set_grad_enabled(graph), evaluation_mode(self.backbone, freeze=graph):
            rows = [row for asked, inputs in reader.read(batches) for row in read(asked, inputs)]
        if graph and not all(row.requires_grad for row in rows):
            raise no_gradients(self.processor)
        return {place: row for (place, _), row in zip(order, rows, strict=True)}

    def _reader(self, graph: bool) -> SharedImages | WholePrompts:
        """What turns prompts into tensors; with a graph such that gradients reach the pixels."""
        kind = SharedImages if encodes_apart(self.backbone) else WholePrompts
        return kind(self.backbone, self.processor, graph)

    def _finite(self, scores: Tensor) -> Tensor:
        if not bool(scores.isfinite().all()):
            raise ValueError(
                f"Model {self.name!r} gave scores that are not finite: load it with `dtype=torch.float32`."
            )
        return scores

    def _refuse_embedding(self) -> NoReturn:
        raise ValueError(
            f"Model {self.name!r} is generative and has no embeddings: it is asked about pictures, alone or in"
            " comparison. Use `UniSimScore`, `UniSimRanking` or `unisim_rank`, or an encoder such as"
            " 'unisim-vit-l-14'."
        )
