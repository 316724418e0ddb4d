"""Frames of a clip to a clip of the store: detector, region vectors and action vectors together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from paddlevideo.extract import schema as kinds
from paddlevideo.extract.actions import OnnxMotion
from paddlevideo.extract.boxes import Found
from paddlevideo.extract.classical_motion import ClassicalMotion
from paddlevideo.extract.classical_regions import ClassicalRegions
from paddlevideo.extract.classical_vectors import ClassicalAppearance
from paddlevideo.extract.detectors import CropRegions, MapRegions, OnnxRegions
from paddlevideo.extract.plan import ClipPlan
from paddlevideo.extract.schema import Settings
from paddlevideo.extract.settings import class_names, describe
from paddlevideo.files.whole import checksum
from paddlevideo.loader.store import ClassTargets, Clip
from paddlevideo.utils.errors import ConfigError, DataError

#: Counts up when the same settings give other features than before.
VERSION = 2
TRIAL = (48, 64)  # pixels of the blank frame that every network must take


class Detector(Protocol):
    """Finds regions. ``follows``: it wants a later frame too, else it is given the same one."""

    follows: bool
    names: list[str] | None

    def find(self, frame: np.ndarray, after: np.ndarray) -> Found:
        """The regions of a frame (h, w, 3) uint8 BGR."""

    def whole(self, frame: np.ndarray) -> np.ndarray:
        """The class distribution (1, C + 1) of the whole frame."""


class RegionVectors(Protocol):
    """Describes boxes."""

    def describe(self, frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """(n, F) for boxes (n, 4) in pixels of the frame."""


class Motion(Protocol):
    """Describes pieces of a clip."""

    names: list[str] | None

    def reduce(self, frame: np.ndarray) -> np.ndarray:
        """What is kept of a frame until its piece is complete."""

    def describe(
        self, windows: Sequence[np.ndarray], interval: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Vectors (m, G) and classes (m,), -1 where there are none."""


@dataclass
class Gathered:
    """The frames of a clip so far, by number: as they are for regions, reduced for actions."""

    regions: dict[int, np.ndarray] = field(default_factory=dict)
    actions: dict[int, np.ndarray] = field(default_factory=dict)


class Extractor:
    """Everything that the settings name, loaded and tried on a blank frame.

    Raises ConfigError for a model that cannot be run or does not fit its settings.
    """

    def __init__(self, settings: Settings, threads: int = 0) -> None:
        self.settings = settings
        self.detector = _detector(settings.regions.detector, threads)
        self.vectors = _vectors(settings.regions.vectors, threads)
        self.motion = _motion(settings.actions.vectors, threads)
        try:
            self._try()
        except ConfigError:
            raise
        except DataError as fault:
            raise ConfigError(f"on a blank frame: {fault}") from None
        #: The settings with the checksums of their models, for the manifest.
        self.description = {"version": VERSION, **_with_checksums(describe(settings))}

    def fingerprint(self, dtype: str) -> str:
        """Equal where the same video gives the same records."""
        # Where a model lies does not matter, what is in it does.
        plain = _without_paths(self.description)
        text = json.dumps([dtype, plain], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def vocabularies(self) -> dict[str, list[str]]:
        """Names of the classes, where they are known."""
        known = {"region": self.detector.names, "action": self.motion.names}
        return {kind: list(names) for kind, names in known.items() if names}

    def frames_of(self, plan: ClipPlan) -> tuple[set[int], set[int]]:
        """The frames that a clip needs for regions, and those for actions."""
        followers = plan.followers if self.detector.follows else []
        return {*plan.regions, *followers}, {frame for window in plan.actions for frame in window}

    def clip(self, plan: ClipPlan, gathered: Gathered, video: str) -> tuple[Clip, bool]:
        """The clip, and whether no region was found in it: then its region is the whole frame.

        Raises DataError where a network fails or a feature is NaN or infinite.
        """
        frames = gathered.regions
        regions = self._regions(plan, frames)
        windows = [np.stack([gathered.actions[n] for n in window]) for window in plan.actions]
        actions, action_classes = self.motion.describe(windows, plan.interval)
        height, width = frames[plan.middle].shape[:2]
        piece = plan.piece
        clip = Clip(
            id=piece.id,
            regions=_finite(regions.vectors, "regions", piece.id),
            boxes=regions.boxes,
            image_h=height,
            image_w=width,
            actions=_finite(actions, "actions", piece.id),
            action_classes=action_classes,
            region_classes=ClassTargets.of(regions.classes),
            video="" if video == piece.id else video,
            extra={"frames": " ".join(map(str, regions.frames))},
        )
        return clip, not regions.found

    def _regions(self, plan: ClipPlan, frames: Mapping[int, np.ndarray]) -> _Regions:
        """The best regions of all frames that are looked at, after the whole one if it is wanted.

        Of equal scores the earlier frame's comes first.
        """
        wanted = self.settings.regions
        followers = plan.followers if self.detector.follows else plan.regions
        found = [
            self.detector.find(frames[number], frames[after])
            for number, after in zip(plan.regions, followers, strict=True)
        ]
        places = np.repeat(np.arange(len(found)), [len(each.boxes) for each in found])
        scores = np.concatenate([each.scores for each in found])
        best = np.argsort(-scores, kind="stable")[: wanted.max_regions - wanted.whole_frame]
        rows = _Regions(
            np.concatenate([each.boxes for each in found])[best],
            np.concatenate([each.classes for each in found])[best],
            np.empty((0, 0)),
            np.array(plan.regions)[places[best]],
            len(best) > 0,
        )
        own = None
        if found[0].vectors is not None:
            own = np.concatenate([each.vectors for each in found if each.vectors is not None])[best]
        if wanted.whole_frame or not len(best):
            middle = plan.middle
            overall = found[len(found) // 2].overall
            rows = _with_whole(rows, middle, frames[middle], self.detector)
            if own is not None and overall is not None:
                own = np.concatenate([overall[None], own])
        return rows._replaced(self._describe(rows, frames, own))

    def _describe(
        self, rows: _Regions, frames: Mapping[int, np.ndarray], own: np.ndarray | None
    ) -> np.ndarray:
        """(n, F): vectors of the chosen regions, each frame's at once."""
        if self.vectors is None:
            assert own is not None
            return own
        parts, order = [], []
        for number in np.unique(rows.frames):
            chosen = np.flatnonzero(rows.frames == number)
            parts.append(self.vectors.describe(frames[int(number)], rows.boxes[chosen]))
            order.append(chosen)
        return np.concatenate(parts)[np.argsort(np.concatenate(order), kind="stable")]

    def _try(self) -> None:
        """Every network once, so that what does not fit is told before the first video."""
        frame = np.full((*TRIAL, 3), 127, np.uint8)
        box = np.array([[0, 0, TRIAL[1], TRIAL[0]]], np.float32)
        self.detector.find(frame, frame)
        if self.vectors is not None:
            self.vectors.describe(frame, box)
        window = np.stack([self.motion.reduce(frame)] * self.settings.actions.frames)
        self.motion.describe([window], 1.0)


@dataclass
class _Regions:
    """The regions of a clip, n of them."""

    boxes: np.ndarray  # n, 4
    classes: np.ndarray  # n, C + 1
    vectors: np.ndarray  # n, F
    frames: np.ndarray  # n: the frame that each is in
    found: bool

    def _replaced(self, vectors: np.ndarray) -> _Regions:
        return _Regions(self.boxes, self.classes, vectors, self.frames, self.found)


def _with_whole(rows: _Regions, number: int, frame: np.ndarray, detector: Detector) -> _Regions:
    """The whole frame before the other regions."""
    box = np.array([[0, 0, frame.shape[1], frame.shape[0]]], np.float32)
    return _Regions(
        np.concatenate([box, rows.boxes]),
        np.concatenate([detector.whole(frame), rows.classes]),
        rows.vectors,
        np.concatenate([[number], rows.frames]).astype(int),
        rows.found,
    )


def _finite(rows: np.ndarray, name: str, clip: str) -> np.ndarray:
    if not np.isfinite(rows).all():
        raise DataError(f'clip "{clip}": {name} hold NaN or infinity: the network is at fault')
    return rows


def _detector(part: Any, threads: int) -> Detector:
    if isinstance(part, kinds.ClassicalDetector):
        return ClassicalRegions(part)
    return OnnxRegions(part, threads)


def _vectors(part: Any, threads: int) -> RegionVectors | None:
    """None: the detector's own."""
    if isinstance(part, kinds.ClassicalVectors):
        return ClassicalAppearance(part)
    if isinstance(part, kinds.CropVectors):
        return CropRegions(part, threads)
    return MapRegions(part, threads) if isinstance(part, kinds.MapVectors) else None


def _motion(part: Any, threads: int) -> Motion:
    if isinstance(part, kinds.ClassicalActions):
        return ClassicalMotion(part)
    return OnnxMotion(part, threads)


def _with_checksums(values: dict[str, Any]) -> dict[str, Any]:
    """``values`` with ``sha256`` beside each ``model``, and class names as they are in files."""
    changed: dict[str, Any] = {}
    for key, value in values.items():
        changed[key] = _with_checksums(value) if isinstance(value, dict) else value
        if key == "model":
            changed["sha256"] = checksum(value)
        if key == "classes":
            changed[key] = class_names(value)
    return changed


def _without_paths(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_paths(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if key != "model"
    }
