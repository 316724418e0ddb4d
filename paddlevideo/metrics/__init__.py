"""Metrics: the base class, and metrics for any task; numpy only.

The metric of text-video retrieval is in ``paddlevideo.retrieval``, and importable from here too.
"""

from __future__ import annotations

import importlib
from typing import Any

from paddlevideo.metrics.base import EvaluationData, Metric, Predictor
from paddlevideo.metrics.loss import LossMetric

#: The modules of names that belong to retrieval.
_RETRIEVAL = {
    "MSRVTTMetric": "paddlevideo.retrieval.metric",
    **dict.fromkeys(
        ("TIE_RULE", "chance_metrics", "ranks", "retrieval_metrics"), "paddlevideo.retrieval.ranks"
    ),
}

__all__ = ["EvaluationData", "LossMetric", "Metric", "Predictor", *_RETRIEVAL]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    """Imports the names of retrieval on demand, because that package imports this one."""
    if name not in _RETRIEVAL:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_RETRIEVAL[name]), name)
