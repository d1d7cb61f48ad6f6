"""A small text-to-image model trained on drawn scenes, and what rewards do to it: an experiment anyone can repeat."""
