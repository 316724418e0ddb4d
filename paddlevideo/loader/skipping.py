"""Clips that cannot be read: left out of training up to a stated number, and listed."""

from __future__ import annotations

import json
import os
from pathlib import Path

from paddlevideo.utils.errors import DataError

#: Samples in a row that are tried in the place of a bad one.
TRIES = 100


class BadClips:
    """The list of clips that a run has left out: a file, which all its processes append to."""

    def __init__(self, path: str | os.PathLike[str], allowed: int) -> None:
        """``allowed``: how many clips may be in it."""
        self.path, self.allowed = Path(path), allowed

    def note(self, name: str, fault: DataError) -> None:
        """Lists a clip. Raises DataError if it is one too many."""
        known = self.names()
        if name in known:
            return
        if len(known) >= self.allowed:
            raise DataError(
                f"{fault}\n{len(known)} clips were left out before it, as many as "
                f"DATASET.skip_bad allows; they are listed in {self.path}"
            )
        line = json.dumps({"clip": name, "fault": str(fault)}, ensure_ascii=False) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # One write at the end of the file: lines of several processes do not mix.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def names(self) -> set[str]:
        """The clips that are listed."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return set()
        return {json.loads(line)["clip"] for line in lines}
