"""LPIPS (Zhang et al. 2018) as torchmetrics has it: the weighted distance of two images' features in a classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unisim_metrics.models.judges.base import JudgeSource
from unisim_metrics.models.judges.full_reference import (
    ALEXNET,
    VGG_16,
    FullReference,
    read_bundled,
    read_features,
)
from unisim_metrics.models.judges.weights import load_exactly

# Of pixels from −1 to 1.
_MEAN, _STD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_EPS = 1e-8

# Below 31 pixels nothing is left behind AlexNet's pools, below 16 behind VGG's.
_NETWORKS = {"lpips-alex": ("alexnet", "alex", ALEXNET, 31), "lpips-vgg": ("vgg16", "vgg", VGG_16, 16)}


class LPIPS(nn.Module):
    """Distances of images.

    Args:
        slices: The layers of the classifier, cut where features are compared.
        widths: How many channels the features of each have.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, slices: list[nn.Sequential], widths: list[int]) -> None:
        super().__init__()
        self.slices = nn.ModuleList(slices)
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1, bias=False) for width in widths)
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """Distances `[N]` of images `[N, 3, H, W]` in [0, 1] from as many others."""
        hidden = (2 * torch.cat([images, others]) - 1 - self.mean) / self.std
        distances = hidden.new_zeros(len(images))
        for layers, head in zip(self.slices, self.heads, strict=True):
            hidden = layers(hidden)
            unit = hidden / (hidden.square().sum(dim=1, keepdim=True) + _EPS).sqrt()
            first, second = unit.chunk(2)
            distances = distances + head((first - second).square()).mean(dim=(1, 2, 3))
        return distances


def load(source: JudgeSource) -> FullReference:
    """Read a classifier of torchvision, and the heads that come with torchmetrics.

    Args:
        source: For ``"lpips-alex"`` ``alexnet-owt-7be5be79.pth``, for ``"lpips-vgg"`` ``vgg16-397923af.pth``.

    Raises:
        CheckpointError: If the weights are not exactly the model's.
    """
    architecture, net, slices, smallest = _NETWORKS[source.name]
    features = read_features(architecture, source)
    path, weights = read_bundled("lpips_models", f"{net}.pth")
    heads = [weights[f"lin{place}.model.1.weight"] for place in range(len(slices))]
    model = LPIPS([features[part] for part in slices], [head.shape[1] for head in heads])
    load_exactly(model.heads, {f"{place}.weight": head for place, head in enumerate(heads)}, path)
    return FullReference(model.eval(), source, smallest)
