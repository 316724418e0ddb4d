"""Clips that cannot be read: left out of training up to a stated number, and listed."""

from __future__ import annotations

import json
import os
from pathlib import Path

from paddlevideo.files.whole import append_json
from paddlevideo.utils.errors import DataError

#: Samples in a row that are tried instead of a bad one.
TRIES = 100


class BadClips:
    """The list of clips that a run has left out: a file, which all its processes append to."""

    def __init__(self, path: str | os.PathLike[str], allowed: int) -> None:
        """``allowed``: the maximum number of clips in it."""
        self.path, self.allowed = Path(path), allowed

    def note(self, name: str, error: DataError) -> None:
        """Lists a clip. Raises DataError if it is one too many."""
        known = self.names()
        if name in known:
            return
        if len(known) >= self.allowed:
            raise DataError(
                f"{error}\n{len(known)} clips were left out before it, as many as "
                f"DATASET.skip_bad allows; they are listed in {self.path}"
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        append_json(self.path, {"clip": name, "fault": str(error)})

    def names(self) -> set[str]:
        """The clips that are listed."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return set()
        return {json.loads(line)["clip"] for line in lines}
