"""Text-video retrieval: gallery, shortlists, ranks, the metric and its predictions, and search.

Importing it loads no Paddle: ``gallery``, ``test`` and ``search`` do.
"""

from __future__ import annotations

from paddlevideo.retrieval.metric import MSRVTTMetric
from paddlevideo.retrieval.ranks import TIE_RULE, chance_metrics, retrieval_metrics

__all__ = ["TIE_RULE", "MSRVTTMetric", "chance_metrics", "retrieval_metrics"]
