"""Cases that the module must get right: what goes in, and what comes out, to three digits.

They hold for any model: pictures against themselves, and groups without a difference.
"""

from __future__ import annotations

import numpy as np

_PICTURE = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
_NEGATIVE = 255 - _PICTURE

test_cases = [
    {
        "config": "image-image",
        "predictions": [_PICTURE, _NEGATIVE],
        "references": [_PICTURE, _NEGATIVE],
        "result": {"scores": [1.0, 1.0], "mean": 1.0},
    },
    {
        "config": "ranking",
        "predictions": [[_PICTURE, _NEGATIVE], [_NEGATIVE, _PICTURE]],
        "references": [_PICTURE, _NEGATIVE],
        "choices": [0, 1],
        "result": {
            "win_rate": [1.0, 0.0],
            "mean_rank": [1.0, 2.0],
            "win_matrix": [[None, 1.0], [0.0, None]],
            "accuracy": 0.5,
        },
    },
    {
        "config": "ranking",
        "predictions": [["a fox", "a fox"]],
        "references": [_PICTURE],
        "result": {"win_rate": [0.5, 0.5], "mean_rank": [1.5, 1.5], "win_matrix": [[None, 0.5], [0.5, None]]},
    },
]
