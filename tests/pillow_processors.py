"""transformers' image processors that resize by Pillow, as its version calls them.

Before 5.x they had the plain name, which now belongs to those of torchvision.
"""

try:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.efficientnet.image_processing_pil_efficientnet import (
        EfficientNetImageProcessorPil,
    )
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
except ImportError:
    from transformers import CLIPImageProcessor as CLIPImageProcessorPil
    from transformers import EfficientNetImageProcessor as EfficientNetImageProcessorPil
    from transformers import SiglipImageProcessor as SiglipImageProcessorPil

__all__ = ["CLIPImageProcessorPil", "EfficientNetImageProcessorPil", "SiglipImageProcessorPil"]
