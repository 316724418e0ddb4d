"""Action segmentation and step localisation: their metrics, files and pages.

Importing it loads no Paddle.
"""

from __future__ import annotations

from paddlevideo.timelines.segmentation import SegmentationMetric

__all__ = ["SegmentationMetric"]
