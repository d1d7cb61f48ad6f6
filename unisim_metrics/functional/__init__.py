"""The metrics as pure functions, and all tensor maths of the library."""

from unisim_metrics.functional.unisim import unisim_rank, unisim_score
from unisim_metrics.maths.embeddings import clip_iqa_probability, cosine_similarity, odd_one_out
from unisim_metrics.maths.ranking import choose, hinge_loss, meetings, rank, wins
from unisim_metrics.maths.retrieval import revisited_average_precision
from unisim_metrics.models.comparing import compare, score_pairs

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
