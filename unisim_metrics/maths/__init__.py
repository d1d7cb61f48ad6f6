"""All tensor maths of the library: similarities, ranks, losses, average precision.

May live here: pure functions of tensors. They know no model, no image and no text, and import torch alone.
"""
