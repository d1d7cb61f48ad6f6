"""The metrics as pure functions, and all tensor maths of the library."""

from unisim_metrics.functional.compare import compare, score_pairs
from unisim_metrics.functional.embeddings import clip_iqa_probability, cosine_similarity, odd_one_out
from unisim_metrics.functional.ranking import choose, hinge_loss, meetings, rank, wins
from unisim_metrics.functional.retrieval import revisited_average_precision
from unisim_metrics.functional.unisim import unisim_rank, unisim_score

__all__ = [
    "choose",
    "clip_iqa_probability",
    "compare",
    "cosine_similarity",
    "hinge_loss",
    "meetings",
    "odd_one_out",
    "rank",
    "revisited_average_precision",
    "score_pairs",
    "unisim_rank",
    "unisim_score",
    "wins",
]
