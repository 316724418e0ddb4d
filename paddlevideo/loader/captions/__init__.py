"""Captions: the published file formats, and the bank from which negatives are drawn."""

from __future__ import annotations

from paddlevideo.loader.captions.bank import CaptionBank, open_bank
from paddlevideo.loader.captions.clip_csv import read_captions
from paddlevideo.loader.captions.files import KINDS, read_lines
from paddlevideo.loader.captions.line import Line, Span

__all__ = ["KINDS", "CaptionBank", "Line", "Span", "open_bank", "read_captions", "read_lines"]
