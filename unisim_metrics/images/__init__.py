"""Images of every kind in, one batch of pixels out: inputs, decoding, resizing, normalising, and the threads for it.

May live here: what turns files, Pillow images, arrays and tensors into pixels. It knows no task and no model;
it imports `errors` alone.
"""

from unisim_metrics.images.decoding import load_image, open_images
from unisim_metrics.images.inputs import ImageInput, Images, count_images, is_image, list_images
from unisim_metrics.images.preparation import prepare_image, preprocess
from unisim_metrics.images.preprocessing import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD, Preprocessing, Resample

__all__ = [
    "OPENAI_CLIP_MEAN",
    "OPENAI_CLIP_STD",
    "ImageInput",
    "Images",
    "Preprocessing",
    "Resample",
    "count_images",
    "is_image",
    "list_images",
    "load_image",
    "open_images",
    "prepare_image",
    "preprocess",
]
