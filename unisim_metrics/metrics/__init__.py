"""UniSimScore and UniSimRanking, and what both are made of.

May live here: `torchmetrics.Metric`s and what they share. They import models, maths and images; nothing here knows
a kind of model.
"""

from unisim_metrics.metrics.ranking import UniSimRanking
from unisim_metrics.metrics.score import UniSimScore

__all__ = ["UniSimRanking", "UniSimScore"]
