"""HPSv2 and HPSv2.1 (Wu et al. 2023): CLIP ViT-H/14 trained on people's choices among generated images.

The score is the cosine of image and text; the authors' tables show a hundred times as much.
"""

from __future__ import annotations

from typing import Any

from unisim_metrics.images import Preprocessing
from unisim_metrics.models.encoders.open_clip import OpenCLIPEncoder
from unisim_metrics.models.judges.base import JudgeSource
from unisim_metrics.models.judges.weights import build_clip, read_weights


def load(source: JudgeSource) -> OpenCLIPEncoder:
    """Read the authors' file.

    Images are prepared as the authors' package does: the long side to 224 px, black around.

    Args:
        source: ``HPS_v2_compressed.pt`` or ``HPS_v2.1_compressed.pt``.

    Raises:
        CheckpointError: If the weights are not exactly the model's.
    """
    import open_clip

    sizes: dict[str, Any] = open_clip.get_model_config("ViT-H-14")
    model = build_clip(read_weights(source.path), sizes, source.path)
    preprocessing = Preprocessing(size=sizes["vision_cfg"]["image_size"], resize="pad")
    tokenizer = open_clip.SimpleTokenizer(context_length=sizes["text_cfg"]["context_length"])
    return OpenCLIPEncoder(model, tokenizer, source.name, preprocessing, source.truncate)
