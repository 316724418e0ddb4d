"""Fills, checks and converts feature stores, for ``tools/prepare_data.py``."""

from __future__ import annotations

from paddlevideo.prepare.export import to_lmdb, to_npy
from paddlevideo.prepare.inspect import describe
from paddlevideo.prepare.pack import PackOptions, pack
from paddlevideo.prepare.sheet import contact_sheet
from paddlevideo.prepare.tars import to_tars
from paddlevideo.prepare.validate import Fault, faults_of, fix, unknown_captions

__all__ = [
    "Fault",
    "PackOptions",
    "contact_sheet",
    "describe",
    "faults_of",
    "fix",
    "pack",
    "to_lmdb",
    "to_npy",
    "to_tars",
    "unknown_captions",
]
