"""Exported models: programs for inference that need neither the model's code nor its weights.

>>> from paddlevideo.export import ExportedModel
>>> model = ExportedModel("exported")

``export_model`` writes an export, ``ExportedModel`` runs one, and ``read_manifest`` reads its
description, without Paddle.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = {
    "ExportedModel": "paddlevideo.export.run",
    "export_model": "paddlevideo.export.trace",
    "read_manifest": "paddlevideo.export.manifest",
}
__all__ = [*_MODULES]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: two of the three modules load Paddle."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
