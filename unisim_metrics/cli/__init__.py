"""The command line `unisim`: score, rank, models, convert, demo, train.

Nothing here imports torch before a command needs it, so that `unisim --help` answers at once.
"""

from unisim_metrics.cli.app import app, main

__all__ = ["app", "main"]
