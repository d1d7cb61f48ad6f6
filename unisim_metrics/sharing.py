"""What `torchmetrics.wrappers.FeatureShare` asks for: an encoder as a module, its inputs as keys of a cache."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Literal, cast

from torch import Tensor, nn

from unisim_metrics.functional.compare import Embedder
from unisim_metrics.models import PerceptualModel


class Hidden(list[nn.Module]):
    """A list that keeps modules out of the module tree; a copy shares them, a pickle drops them."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Hidden:
        return self

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (Hidden, ())


class FeatureKey:
    """Images or texts as the key of a cache: equal where they are the same objects, not written to since."""

    def __init__(self, items: Any) -> None:
        self.items = items
        listed = items if isinstance(items, (list, tuple)) else (items,)
        # The key is kept with the cached features, and its items with it: no other object gets their ids.
        self._marks = tuple(_mark(item) for item in listed)

    def __hash__(self) -> int:
        return hash(self._marks)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FeatureKey) and self._marks == other._marks


def _mark(item: Any) -> Hashable:
    if isinstance(item, str):
        return item
    if not isinstance(item, Tensor):
        return id(item)
    version = 0 if item.is_inference() else item._version
    # Every metric takes its own view of a batch of groups: views of one tensor are told by their place in it.
    base = item if item._base is None else item._base
    return id(base), version, item.storage_offset(), item.shape, item.stride()


class FeatureNetwork(nn.Module):
    """A model's two `embed_` methods behind one `forward`, without the model in the module tree."""

    def __init__(self, model: PerceptualModel) -> None:
        super().__init__()
        self._model = Hidden([cast(nn.Module, model)])
        self.identity = f"{model.name}@{model.weights_hash()[:12]} {model.input_tag}"

    def forward(self, key: FeatureKey, modality: Literal["image", "text"]) -> Tensor:
        """Embed the items of `key`."""
        model = cast(Embedder, self._model[0])
        return model.embed_images(key.items) if modality == "image" else model.embed_texts(key.items)

    def extra_repr(self) -> str:
        """The model's name, weights and input: what `FeatureShare` compares."""
        return self.identity


class SharedEmbedder:
    """Embeds through the network that `FeatureShare` put in the model's place."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def embed_images(self, images: Any) -> Tensor:
        """Embed images, `[N, D]`."""
        return cast(Tensor, self.network(FeatureKey(images), "image"))

    def embed_texts(self, texts: Any) -> Tensor:
        """Embed texts, `[N, D]`."""
        return cast(Tensor, self.network(FeatureKey(texts), "text"))
