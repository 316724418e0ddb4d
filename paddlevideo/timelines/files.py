"""Writers of the files beside ``results.json``."""

from __future__ import annotations

from pathlib import Path


def write_text(text: str, path: Path) -> None:
    """Writes ``text`` as UTF-8."""
    path.write_text(text, encoding="utf-8")
