"""Training: objectives, data and recipes behind the published checkpoints."""
