"""Numbers from predictions: what a metric is, and those that suit any task; numpy only.

That of text-video retrieval stands in ``paddlevideo.retrieval``; its names can be had here too.
"""

from __future__ import annotations

import importlib
from typing import Any

from paddlevideo.metrics.base import EvaluationData, Metric, Predictor
from paddlevideo.metrics.loss import LossMetric

#: The module of each name of retrieval.
_RETRIEVAL = {
    "MSRVTTMetric": "paddlevideo.retrieval.metric",
    **dict.fromkeys(
        ("TIE_RULE", "chance_metrics", "ranks", "retrieval_metrics"), "paddlevideo.retrieval.ranks"
    ),
}

__all__ = ["EvaluationData", "LossMetric", "Metric", "Predictor", *_RETRIEVAL]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    """Looks up the names of retrieval when they are asked for: that package needs this one."""
    if name not in _RETRIEVAL:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_RETRIEVAL[name]), name)
