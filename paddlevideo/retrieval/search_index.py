"""The index of a search on disk: a gallery's vectors, keyed by what they were computed from.

There is one ``.npz`` per weight file, feature file and sizes of clips. It is replaced if their
contents have changed; indexes whose weights or features no longer exist are removed. An index only
saves time: if it cannot be written, the search continues without it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from paddlevideo.files.fingerprint import fingerprint
from paddlevideo.files.whole import write_arrays_whole

log = logging.getLogger("paddlevideo")
_NAME = re.compile(r"[0-9a-f]{16}\.npz")
Key = dict[str, Any]


def index_folder(weights: Path, given: str | os.PathLike[str] | None = None) -> Path:
    """Returns the given folder of indexes, by default the one beside the weights."""
    return weights.parent / "search_index" if given is None else Path(given)


class SearchIndex:
    """The index for given weights and features in a folder of indexes."""

    def __init__(
        self, folder: Path, weights: Path, sha256: str, features: Path, sizes: Mapping[str, Any]
    ) -> None:
        """``sha256``: of the loaded weights; ``sizes``: what else the vectors depend on.

        Raises OSError if the features cannot be read.
        """
        self.key: Key = {
            "weights": {"path": os.path.realpath(weights), "sha256": sha256},
            "features": fingerprint(features),
            "sizes": {name: sizes[name] for name in sorted(sizes)},
        }
        self.key = json.loads(json.dumps(self.key, default=str))
        named = [self.key["weights"]["path"], self.key["features"]["path"], self.key["sizes"]]
        name = hashlib.sha256(json.dumps(named).encode("utf-8", "backslashreplace")).hexdigest()
        self.path = folder / f"{name[:16]}.npz"

    def vectors(self, clips: int, encode: Callable[[], np.ndarray]) -> np.ndarray:
        """Returns vectors (clips, D): the stored ones, or those of ``encode``, which are stored."""
        vectors = self._read(clips)
        if vectors is None:
            vectors = encode()
            try:
                self._write(vectors)
                log.info("indexed %d clips: %s", clips, self.path)
            except OSError as error:
                log.warning(
                    "the index cannot be written, so the next search reads all clips again: %s "
                    "(%s). Choose another folder with --index",
                    os.fspath(error.filename or self.path),
                    error.strerror or error,
                )
        return vectors

    def _read(self, clips: int) -> np.ndarray | None:
        try:
            with np.load(self.path, allow_pickle=False) as file:
                if json.loads(str(file["key"])) == self.key and len(file["vectors"]) == clips:
                    return file["vectors"]
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            pass
        return None

    def _write(self, vectors: np.ndarray) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _remove_old(self.path.parent)
        arrays = {"key": np.asarray(json.dumps(self.key)), "vectors": vectors}
        write_arrays_whole(self.path, arrays)


def _remove_old(folder: Path) -> None:
    """Removes indexes of earlier versions, and of weights or features that no longer exist."""
    for path in folder.iterdir():
        if _NAME.fullmatch(path.name) and _is_obsolete(path):
            path.unlink(missing_ok=True)


def _is_obsolete(path: Path) -> bool:
    try:
        with np.load(path, allow_pickle=False) as file:
            key = json.loads(str(file["key"]))
        weights, features = key["weights"], key["features"]
        if isinstance(features, list):  # of earlier versions, which compared modification times
            return True
        return not (os.path.exists(weights["path"]) and os.path.exists(features["path"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        return False  # not an index
