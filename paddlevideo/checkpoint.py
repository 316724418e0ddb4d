"""Checkpoints of a run: each is written whole or not at all.

Tags are ``epoch_00003``, ``step_00001200`` (saved within an epoch), ``best`` and ``average``. A
checkpoint is ``<name>_<tag>.pdparams`` and ``.pdopt`` beside ``<name>_<tag>.json``, the manifest.
The manifest is written last and has the sizes and checksums of the others: without it, or if they
differ, the checkpoint does not count. ``<name>_latest.json`` points to the newest.

A manifest also records the run that wrote it, and the order in which the run's checkpoints were
saved: "newest" means saved last, even after a run resumed an earlier epoch.
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

from paddlevideo.files.whole import (
    damage_of,
    describe_whole,
    read_json,
    write_json_whole,
    write_whole,
)
from paddlevideo.safe_pickle import load_state
from paddlevideo.utils.errors import DataError, WeightsError

log = logging.getLogger("paddlevideo")
SUFFIXES = (".pdparams", ".pdopt")
BEST, AVERAGE = "best", "average"
_RESUMABLE = r"(?:epoch|step)_\d+"


@dataclass(frozen=True)
class Progress:
    """The progress of a run. ``batches``: micro-batches consumed in the unfinished epoch."""

    epoch: int = 0  # epochs finished
    batches: int = 0
    step: int = 0  # optimizer steps taken
    best: float | None = None
    stale: int = 0  # validations since the best
    pending: bool = False  # a validation is due at this point


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was loaded."""

    tag: str
    weights: Mapping[str, np.ndarray]
    optimizer: Mapping[str, Any]
    progress: Progress
    extra: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of one run, in one folder."""

    def __init__(self, folder: str | Path, name: str, keep: int = 3, run: str = "") -> None:
        """``keep``: the number of newest epoch checkpoints to keep; 0 keeps all, and the best.

        The same number of checkpoints within an epoch is kept until the epoch ends. ``run``: the
        identity of the run; checkpoints of other runs are not touched. Those that name no run
        count as this run's, and so do all if ``run`` is empty.
        """
        self.folder = Path(folder)
        self.name = name
        self.keep = keep
        self.run = run

    def path(self, tag: str, suffix: str) -> Path:
        """Returns ``<folder>/<name>_<tag><suffix>``."""
        return self.folder / f"{self.name}_{tag}{suffix}"

    @staticmethod
    def epoch_tag(epoch: int) -> str:
        """Returns ``epoch_00001`` for epoch 1."""
        return f"epoch_{epoch:05d}"

    @staticmethod
    def step_tag(step: int) -> str:
        """Returns ``step_00001200`` after 1200 optimizer steps."""
        return f"step_{step:08d}"

    def save(
        self,
        tag: str,
        weights: Mapping[str, Any],
        optimizer: Mapping[str, Any],
        progress: Progress,
        extra: Mapping[str, Any],
    ) -> Path:
        """Writes a checkpoint and, unless it is the best or the average, points ``latest`` to it.

        ``extra`` must be plain JSON. Returns the path of the weights. An old checkpoint of the
        same tag is invalidated first, so that a stop between two files cannot mix both.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._invalidate(tag)
        try:
            files = self._write_states(tag, weights, optimizer)
        except OSError:
            # An incomplete checkpoint only takes space; but the best weights can still be tested.
            for suffix in SUFFIXES if tag not in (BEST, AVERAGE) else ():
                self.path(tag, suffix).unlink(missing_ok=True)
            raise
        record: dict[str, Any] = {"run": self.run} if self.run else {}
        record |= {"progress": asdict(progress), "extra": dict(extra), "files": files}
        if tag not in (BEST, AVERAGE):
            orders = (_saving_order(other, saved)[0] for other, saved in self._resumable().items())
            record["order"] = 1 + int(max(orders, default=0))
        write_json_whole(self.path(tag, ".json"), record)
        if tag not in (BEST, AVERAGE):
            self._point_to(tag)
            self._drop_old(tag)
        return self.path(tag, ".pdparams")

    def _write_states(self, tag: str, *states: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Writes weights and optimizer; returns the manifest's entries of the files."""
        files = {}
        for suffix, state in zip(SUFFIXES, states, strict=True):
            path = self.path(tag, suffix)
            write_whole(path, partial(_save_state, dict(state)))
            files[path.name] = describe_whole(path)
        return files

    def _invalidate(self, tag: str) -> None:
        """Removes the manifest of a checkpoint to replace, and ``latest`` if it points to it."""
        latest = self.path("latest", ".json")
        pointer = read_json(latest)
        if isinstance(pointer, dict) and pointer.get("latest") == tag:
            others = [other for other in self._resumable() if other != tag]
            if others:
                self._point_to(others[-1])
            else:
                latest.unlink()
        self.path(tag, ".json").unlink(missing_ok=True)

    def _point_to(self, tag: str) -> None:
        run = {"run": self.run} if self.run else {}
        write_json_whole(self.path("latest", ".json"), {"latest": tag, **run})

    def amend(self, tag: str, progress: Progress, extra: Mapping[str, Any]) -> None:
        """Replaces progress and ``extra`` in the manifest of a checkpoint."""
        manifest = self.path(tag, ".json")
        record = json.loads(manifest.read_text())
        write_json_whole(manifest, {**record, "progress": asdict(progress), "extra": dict(extra)})

    def _drop_old(self, saved: str) -> None:
        """Removes checkpoints beyond ``keep``, manifests first, but not the one just ``saved``."""
        tags = list(self._resumable())
        epochs, steps = (
            [tag for tag in tags if tag.startswith(kind)] for kind in ("epoch", "step")
        )
        old = epochs[: -self.keep] + steps[: -self.keep] if self.keep else []
        # The checkpoint of an epoch replaces those within it.
        old += [tag for tag in steps if epochs and tags.index(tag) < tags.index(epochs[-1])]
        for tag in old:
            if tag != saved:
                for suffix in (".json", *SUFFIXES):
                    self.path(tag, suffix).unlink(missing_ok=True)

    def tags(self) -> list[str]:
        """Returns the tags of the run's checkpoints to resume from, oldest first.

        An unreadable manifest sorts last, so that the error names it.
        """
        manifests = self._manifests(_RESUMABLE)
        return [*self._resumable(), *sorted(tag for tag, record in manifests.items() if not record)]

    def _resumable(self) -> dict[str, dict[str, Any]]:
        """Returns this run's readable manifests to resume from by tag, oldest first."""
        dated = [
            (_saving_order(tag, record), tag, record)
            for tag, record in self._manifests(_RESUMABLE).items()
            if record and (not self.run or record.get("run", self.run) == self.run)
        ]
        return {tag: record for _, tag, record in sorted(dated, key=lambda each: each[0])}

    def _manifests(self, tags: str) -> dict[str, dict[str, Any] | None]:
        """Returns manifests by tag, None if unreadable. ``tags``: a regular expression."""
        pattern = re.compile(rf"{re.escape(self.name)}_({tags})\.json")
        matches = (pattern.fullmatch(path.name) for path in self.folder.glob("*.json"))
        return {match[1]: _read_manifest(self.folder / match[0]) for match in matches if match}

    def runs(self) -> dict[str, list[str]]:
        """Returns tags of checkpoints by the identity of their run, "" if they name none."""
        tags: dict[str, list[str]] = {}
        for tag, record in self._manifests(rf"{_RESUMABLE}|{BEST}|{AVERAGE}").items():
            if record:
                tags.setdefault(str(record.get("run", "")), []).append(tag)
        return tags

    def files(self) -> list[Path]:
        """Returns all files of checkpoints with this name, whole or not, manifests first."""
        tags = rf"{_RESUMABLE}|{BEST}|{AVERAGE}"
        names = re.compile(rf"{re.escape(self.name)}_({tags})\.(json|pdparams|pdopt)")
        paths = [path for path in self.folder.glob("*") if names.fullmatch(path.name)]
        return sorted(paths, key=lambda path: (path.suffix != ".json", path.name))

    def remove(self) -> None:
        """Removes all files of checkpoints with this name."""
        self.path("latest", ".json").unlink(missing_ok=True)
        for path in self.files():
            path.unlink()

    @staticmethod
    def names_in(folder: Path) -> set[str]:
        """Returns the names of all runs that have saved an epoch or a step in ``folder``."""
        pattern = re.compile(rf"(.+)_{_RESUMABLE}\.json")
        matches = (pattern.fullmatch(path.name) for path in folder.glob("*.json"))
        return {match[1] for match in matches if match}

    def newest(self) -> Checkpoint | None:
        """Returns the newest whole checkpoint, or None. Warns of damaged ones."""
        for tag in reversed(self.tags()):
            try:
                return self.load(tag)
            except WeightsError as error:
                log.warning("%s Trying the one before it.", error)
        return None

    def load(self, tag: str) -> Checkpoint:
        """Loads a checkpoint. Raises WeightsError if it is missing or damaged."""
        manifest = self.path(tag, ".json")
        try:
            record = json.loads(manifest.read_text())
            progress = Progress(**record["progress"])
            files = record["files"]
        except FileNotFoundError:
            raise WeightsError(
                f"{manifest}: no such checkpoint. Found: {', '.join(self.tags()) or 'none'}"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"{manifest} is damaged ({error}).") from error
        for name, expected in files.items():
            if damage := damage_of(self.folder / name, expected, "its manifest"):
                raise WeightsError(f"{damage}.")
        try:
            weights, optimizer = (load_state(self.path(tag, suffix)) for suffix in SUFFIXES)
        except DataError as error:
            raise WeightsError(str(error)) from error
        return Checkpoint(tag, weights, optimizer, progress, record.get("extra", {}))


def _read_manifest(path: Path) -> dict[str, Any] | None:
    """Returns a manifest; None unless it has progress, the order of saving and files."""
    record = read_json(path)
    try:
        assert isinstance(record, dict) and isinstance(record["files"], dict)
        _saving_order("", record)
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError):
        return None
    return record


def _saving_order(tag: str, record: Mapping[str, Any]) -> tuple[float, ...]:
    """Returns a sort key, oldest first; older releases recorded only the progress."""
    progress = record["progress"]
    done = (progress.get(name, 0) for name in ("step", "epoch", "batches"))
    return (float(record.get("order", 0)), *map(float, done), float(tag.startswith("epoch")))


def _save_state(state: dict[str, Any], path: Path) -> None:
    paddle.save(state, str(path))
