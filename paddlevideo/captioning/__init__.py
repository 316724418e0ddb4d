"""Captions of clips: the metric of a captioning test, its files and its page. Loads no Paddle."""

from __future__ import annotations

from paddlevideo.captioning.metric import CaptionMetric
from paddlevideo.captioning.subtitles import TimedCaption, srt_text

__all__ = ["CaptionMetric", "TimedCaption", "srt_text"]
