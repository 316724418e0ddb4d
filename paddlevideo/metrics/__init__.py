"""Numbers from predictions: pure functions on arrays and thin collectors, numpy only."""

from __future__ import annotations

from paddlevideo.metrics.loss import LossMetric
from paddlevideo.metrics.msrvtt import MSRVTTMetric
from paddlevideo.metrics.retrieval import TIE_RULE, chance_metrics, ranks, retrieval_metrics

__all__ = [
    "TIE_RULE",
    "LossMetric",
    "MSRVTTMetric",
    "chance_metrics",
    "ranks",
    "retrieval_metrics",
]
