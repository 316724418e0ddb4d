"""Random captions: of a file, kept as bytes, or of a feature store, read when drawn.

A caption as a Python object costs some 110 bytes besides its characters, and a data set may have a
hundred million of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from paddlevideo.loader.captions.files import usable_lines
from paddlevideo.loader.captions.json_stream import json_entries
from paddlevideo.loader.clips.clip import non_blank, split_alternatives
from paddlevideo.loader.store import FeatureStore, is_store
from paddlevideo.loader.store.split import clips_of_split, open_store
from paddlevideo.registry import Share, Split
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.text_files import open_text, writable

log = logging.getLogger("paddlevideo")
#: Maximum number of clips tried for one draw, as clips of a store may have no captions.
_CLIPS_TRIED = 1000


class CaptionBank(Protocol):
    """A source of random captions."""

    def draw(self, rng: np.random.Generator) -> str:
        """Returns a random caption. Raises DataError if there is none."""


@lru_cache(maxsize=8)
def open_bank(path: str, split: Split | None = None, share: Share | None = None) -> CaptionBank:
    """Opens the captions of a feature store or of any caption file, once in a process.

    ``split``: only those of the store's clips that are for it; ``share``: only those of this rank's
    shards. Raises DataError naming the file and the entry that is wrong.
    """
    if split:
        store = open_store(path, share)
        return StoreCaptions(store, clips_of_split(store, split))
    if is_store(path):
        return StoreCaptions(FeatureStore(path, share))
    texts, separated = _texts(Path(path))
    return PackedCaptions(texts, path, separated)


def alternatives(caption: str, where: str) -> tuple[str, ...]:
    """Returns the alternatives of a caption, which ``!`` separates, without blank ones.

    Raises DataError, beginning with ``where``, if all are blank.
    """
    kept = tuple(split_alternatives(caption))
    if not kept:
        raise DataError(f'{where}: the caption "{caption}" is blank')
    return kept


class PackedCaptions:
    """Captions one after another in memory: their characters, and 8 bytes for each one's start.

    Processes that fork share the memory.
    """

    def __init__(self, texts: Iterable[str], path: str = "captions", separated: bool = False):
        """Packs all ``texts``, in which ``!`` may separate alternatives.

        Raises DataError, naming ``path``, if there are none.
        """
        self._separated = separated
        characters = bytearray()
        starts = [np.zeros(1, np.int64)]
        block: list[int] = []
        for text in texts:
            characters += text.encode()
            block.append(len(characters))
            if len(block) == 1 << 16:
                starts.append(np.array(block, np.int64))
                block = []
        self._starts = np.concatenate([*starts, np.array(block, np.int64)])
        self._characters = bytes(characters)
        if not len(self):
            raise DataError(f"{path}: holds no captions")

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: int) -> str:
        """Returns caption ``index`` without separating its alternatives."""
        return self._characters[self._starts[index] : self._starts[index + 1]].decode()

    def draw(self, rng: np.random.Generator) -> str:
        """Returns a random caption, or one of its alternatives."""
        index = int(rng.integers(len(self)))
        if not self._separated:
            return self[index]
        parts = alternatives(self[index], f"caption {index}")
        return parts[rng.integers(len(parts))]


class StoreCaptions:
    """The captions of a store's clips, or of those at ``indices``.

    A draw reads the header of one record.
    """

    def __init__(self, store: FeatureStore, indices: np.ndarray | None = None) -> None:
        self.store = store
        self.indices: Sequence[int] | np.ndarray = range(len(store)) if indices is None else indices

    def draw(self, rng: np.random.Generator) -> str:
        """Returns a caption of a random clip: all clips are equally likely."""
        for _ in range(_CLIPS_TRIED):
            about = self.store.about(int(self.indices[int(rng.integers(len(self.indices)))]))
            captions = non_blank(about.captions)
            if captions:
                return captions[rng.integers(len(captions))]
        raise DataError(f"{self.store.path}: {_CLIPS_TRIED} clips were tried, none has a caption")


def _texts(path: Path) -> tuple[Iterator[str], bool]:
    """Returns the captions of a file, and whether ``!`` separates alternatives in them."""
    if path.is_file() and _is_list(path):
        return _listed(path), True
    return (line.text for line in usable_lines(path) if line.text is not None), False


def _listed(path: Path) -> Iterator[str]:
    """Yields the texts of PaddleVideo's JSON list without nulls, which are logged."""
    nulls = 0
    for number, text in json_entries(path):
        if text is None:
            nulls += 1
            continue
        if not isinstance(text, str):
            raise DataError(f"{path}: caption {number} is {text!r:.60}, not text")
        alternatives(text, f"{path}: caption {number}")
        yield writable(text, f"{path}: caption {number}")
    if nulls:
        log.warning("%s: %d captions are null and were left out", path, nulls)


def _is_list(path: Path) -> bool:
    """Whether a file is a JSON list of anything but objects."""
    with open_text(path) as file:
        if file.read(64).lstrip()[:1] != "[":
            return False
    first = next(json_entries(path), None)
    return first is None or not isinstance(first[1], dict)
