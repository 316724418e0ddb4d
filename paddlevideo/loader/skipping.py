"""Clips that cannot be read: training skips and lists up to a given number."""

from __future__ import annotations

import json
import os
from pathlib import Path

from paddlevideo.files.whole import append_json
from paddlevideo.utils.errors import DataError

#: Maximum number of samples in a row to try in place of a bad one.
TRIES = 100


class BadClips:
    """The list of clips that a run has left out: a file to which all processes append."""

    def __init__(self, path: str | os.PathLike[str], allowed: int) -> None:
        """``allowed``: the maximum number of clips in the list."""
        self.path, self.allowed = Path(path), allowed

    def note(self, name: str, error: DataError) -> None:
        """Lists a clip. Raises DataError if the list is full."""
        known = self.names()
        if name in known:
            return
        if len(known) >= self.allowed:
            raise DataError(
                f"{error}\n{len(known)} clips were left out before it, the maximum that "
                f"DATASET.skip_bad allows; {self.path} lists them"
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        append_json(self.path, {"clip": name, "fault": str(error)})

    def names(self) -> set[str]:
        """Returns the listed clips."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return set()
        return {json.loads(line)["clip"] for line in lines}
