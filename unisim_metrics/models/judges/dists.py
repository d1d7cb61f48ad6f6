"""DISTS (Ding et al. 2020) as torchmetrics has it: how far two images differ in structure and in texture.

Features of VGG-16 are compared by their means and by how they vary together; its pools are smoothing ones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unisim_metrics.models.judges.base import JudgeSource
from unisim_metrics.models.judges.full_reference import VGG_16, FullReference, read_bundled, read_features
from unisim_metrics.models.judges.weights import load_exactly

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CHANNELS = (3, 64, 128, 256, 512, 512)
_EPS = 1e-6


class DISTS(nn.Module):
    """Distances of images.

    Args:
        stages: The layers of VGG-16, cut where features are compared, without the pools before all but the first.
    """

    mean: Tensor
    std: Tensor
    smoothing: Tensor

    def __init__(self, stages: list[nn.Sequential]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        shape = (1, sum(_CHANNELS), 1, 1)
        self.weights = nn.ParameterDict({"alpha": torch.empty(shape), "beta": torch.empty(shape)})
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(3, 1, 1), persistent=False)
        hann = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("smoothing", hann.outer(hann)[None, None], persistent=False)

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """Distances `[N]` of images `[N, 3, H, W]` in [0, 1] from as many others."""
        alpha, beta = self.weights["alpha"], self.weights["beta"]
        total = alpha.sum() + beta.sum()
        textures, structures = ((weight / total).split(_CHANNELS, dim=1) for weight in (alpha, beta))
        closeness = images.new_zeros(len(images))
        for features, texture, structure in zip(
            self._features(torch.cat([images, others])), textures, structures, strict=True
        ):
            means = features.mean(dim=(2, 3), keepdim=True)
            centred = features - means
            (first, second), (mean, other) = centred.chunk(2), means.chunk(2)
            variances = first.square().mean(dim=(2, 3), keepdim=True) + second.square().mean(
                dim=(2, 3), keepdim=True
            )
            covariance = (first * second).mean(dim=(2, 3), keepdim=True)
            alike = texture * (2 * mean * other + _EPS) / (mean.square() + other.square() + _EPS)
            alike = alike + structure * (2 * covariance + _EPS) / (variances + _EPS)
            closeness = closeness + alike.sum(dim=(1, 2, 3))
        return 1 - closeness

    def _features(self, pixels: Tensor) -> list[Tensor]:
        """The pixels themselves, and what comes out of each stage."""
        hidden = self.stages[0]((pixels - self.mean) / self.std)
        features = [pixels, hidden]
        for stage in self.stages[1:]:
            hidden = stage(self._pool(hidden))
            features.append(hidden)
        return features

    def _pool(self, features: Tensor) -> Tensor:
        """The root of the smoothed squares at every second place."""
        kernel = self.smoothing.expand(features.shape[1], -1, -1, -1)
        squares = F.conv2d(features.square(), kernel, stride=2, padding=1, groups=len(kernel))
        return (squares + 1e-12).sqrt()


def load(source: JudgeSource) -> FullReference:
    """Read VGG-16 of torchvision, and the weights of its channels that come with torchmetrics.

    Args:
        source: ``vgg16-397923af.pth``.

    Raises:
        CheckpointError: If the weights are not exactly the model's.
    """
    features = read_features("vgg16", source)
    path, weights = read_bundled("dists_models", "weights.pt")
    stages = [features[part.start + (place > 0) : part.stop] for place, part in enumerate(VGG_16)]
    model = DISTS(stages)
    load_exactly(model.weights, weights, path)
    return FullReference(model.eval(), source)
