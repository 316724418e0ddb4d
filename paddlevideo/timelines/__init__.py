"""Action segmentation and step localisation: their metrics, files and pages.

Importing it loads no Paddle.
"""

from __future__ import annotations

from paddlevideo.timelines.segmentation import SegmentationMetric
from paddlevideo.timelines.steps import StepMetric

__all__ = ["SegmentationMetric", "StepMetric"]
