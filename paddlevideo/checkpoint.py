"""Checkpoints: files are written whole or not at all, and one object knows them all.

Tags are ``epoch_00003``, ``step_00001200`` (saved within an epoch), ``best`` and ``average``. A
checkpoint is ``<name>_<tag>.pdparams`` and ``.pdopt`` beside ``<name>_<tag>.json``, the manifest.
The manifest is written last and holds the others' sizes and checksums: without it, or where it
does not agree, there is no checkpoint. ``<name>_latest.json`` points to the newest.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from paddlevideo.safe_pickle import load_state
from paddlevideo.utils.errors import DataError, WeightsError
from paddlevideo.utils.files import checksum, write_whole

log = logging.getLogger("paddlevideo")
SUFFIXES = (".pdparams", ".pdopt")
BEST, AVERAGE = "best", "average"


@dataclass(frozen=True)
class Progress:
    """How far a run has come. ``batches``: micro-batches consumed in the unfinished epoch."""

    epoch: int = 0  # epochs finished
    batches: int = 0
    step: int = 0  # optimizer steps taken
    best: float | None = None
    stale: int = 0  # validations since the best
    pending: bool = False  # trained so far, and still to be validated


@dataclass(frozen=True)
class Checkpoint:
    """What was read back."""

    tag: str
    weights: Mapping[str, np.ndarray]
    optimizer: Mapping[str, Any]
    progress: Progress
    extra: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of one run, in one folder."""

    def __init__(self, folder: str | Path, name: str, keep: int = 3) -> None:
        """``keep``: how many epochs' checkpoints stay; 0 keeps all. The best is always kept.

        Of those within an epoch as many stay, until the epoch has its own.
        """
        self.folder = Path(folder)
        self.name = name
        self.keep = keep

    def path(self, tag: str, suffix: str) -> Path:
        """``<folder>/<name>_<tag><suffix>``."""
        return self.folder / f"{self.name}_{tag}{suffix}"

    @staticmethod
    def epoch_tag(epoch: int) -> str:
        """``epoch_00001`` for epoch 1."""
        return f"epoch_{epoch:05d}"

    @staticmethod
    def step_tag(step: int) -> str:
        """``step_00001200`` after 1200 optimizer steps."""
        return f"step_{step:08d}"

    def save(
        self,
        tag: str,
        weights: Mapping[str, Any],
        optimizer: Mapping[str, Any],
        progress: Progress,
        extra: Mapping[str, Any],
    ) -> Path:
        """Writes a checkpoint and, unless it is the best, points ``latest`` to it.

        ``extra`` must be plain JSON. Returns the weights' path. An old checkpoint of the same tag
        is first made invalid, so that a stop between two files leaves none that is mixed.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        manifest = self.path(tag, ".json")
        manifest.unlink(missing_ok=True)
        files = {}
        for suffix, state in zip(SUFFIXES, (weights, optimizer), strict=True):
            path = self.path(tag, suffix)
            write_whole(path, partial(_save_state, dict(state)))
            files[path.name] = {"bytes": path.stat().st_size, "sha256": checksum(path)}
        record = {"progress": asdict(progress), "extra": dict(extra), "files": files}
        text = json.dumps(record, indent=1)
        write_whole(manifest, lambda file: file.write_text(text))
        if tag not in (BEST, AVERAGE):
            pointer = json.dumps({"latest": tag})
            write_whole(self.path("latest", ".json"), lambda file: file.write_text(pointer))
            self._drop_old()
        return self.path(tag, ".pdparams")

    def amend(self, tag: str, progress: Progress, extra: Mapping[str, Any]) -> None:
        """Replaces what the manifest of a checkpoint says; its other files stay as they are."""
        manifest = self.path(tag, ".json")
        record = json.loads(manifest.read_text())
        record |= {"progress": asdict(progress), "extra": dict(extra)}
        write_whole(manifest, lambda file: file.write_text(json.dumps(record, indent=1)))

    def _drop_old(self) -> None:
        """Removes what ``keep`` leaves no place for; manifests go first."""
        tags = self.tags()
        epochs, steps = (
            [tag for tag in tags if tag.startswith(kind)] for kind in ("epoch", "step")
        )
        old = epochs[: -self.keep] + steps[: -self.keep] if self.keep else []
        # An epoch's own checkpoint takes the place of those within it.
        old += [tag for tag in steps if epochs and tags.index(tag) < tags.index(epochs[-1])]
        for tag in old:
            for suffix in (".json", *SUFFIXES):
                self.path(tag, suffix).unlink(missing_ok=True)

    def tags(self) -> list[str]:
        """Tags of all checkpoints to resume from that have a manifest, in the order of training."""
        pattern = re.compile(re.escape(self.name) + r"_((epoch|step)_\d+)\.json")
        names = (pattern.fullmatch(path.name) for path in self.folder.glob("*.json"))
        return sorted((match.group(1) for match in names if match), key=self._position)

    def _position(self, tag: str) -> tuple[float, ...]:
        """How far the run had come; a manifest that cannot be read comes last, to be named."""
        try:
            progress = json.loads(self.path(tag, ".json").read_text())["progress"]
            done = (progress["step"], progress["epoch"], progress["batches"])
            return (*map(float, done), float(tag.startswith("epoch")))
        except (OSError, ValueError, KeyError, TypeError):
            return (float("inf"),)

    def newest(self) -> Checkpoint | None:
        """The newest whole checkpoint, or None. A damaged one is named and passed over."""
        for tag in reversed(self.tags()):
            try:
                return self.load(tag)
            except WeightsError as fault:
                log.warning("%s Trying the one before it.", fault)
        return None

    def load(self, tag: str) -> Checkpoint:
        """Reads a checkpoint. Raises WeightsError if it is absent or damaged."""
        manifest = self.path(tag, ".json")
        try:
            record = json.loads(manifest.read_text())
            progress = Progress(**record["progress"])
            files = record["files"]
        except FileNotFoundError:
            raise WeightsError(
                f"{manifest}: no such checkpoint. Found: {', '.join(self.tags()) or 'none'}"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as fault:
            raise WeightsError(f"{manifest} is damaged ({fault}).") from fault
        for name, expected in files.items():
            self._check(self.folder / name, expected)
        try:
            weights, optimizer = (load_state(self.path(tag, suffix)) for suffix in SUFFIXES)
        except DataError as fault:
            raise WeightsError(str(fault)) from fault
        return Checkpoint(tag, weights, optimizer, progress, record.get("extra", {}))

    @staticmethod
    def _check(path: Path, expected: Mapping[str, Any]) -> None:
        if not path.is_file():
            raise WeightsError(f"{path} is missing, its manifest names it.")
        size = path.stat().st_size
        if size != expected["bytes"]:
            raise WeightsError(f"{path} has {size} bytes, its manifest says {expected['bytes']}.")
        if checksum(path) != expected["sha256"]:
            raise WeightsError(f"{path} is damaged: its checksum is not its manifest's.")


def _save_state(state: dict[str, Any], path: Path) -> None:
    paddle.save(state, str(path))
