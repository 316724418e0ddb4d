"""Frames of a clip to a clip of the store: detector, region vectors and action vectors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from paddlevideo.extract import schema as kinds
from paddlevideo.extract.actions import FrameMotion, NetworkMotion
from paddlevideo.extract.boxes import Detections
from paddlevideo.extract.classical.appearance import ClassicalAppearance
from paddlevideo.extract.classical.motion import ClassicalMotion, ThingMotion
from paddlevideo.extract.classical.planes import PlaneCache
from paddlevideo.extract.classical.regions import ClassicalRegions
from paddlevideo.extract.detectors import Boxed, CropRegions, Described, MapRegions, NetworkRegions
from paddlevideo.extract.models import model_files
from paddlevideo.extract.network import Network
from paddlevideo.extract.plan import ClipPlan
from paddlevideo.extract.schema import Settings
from paddlevideo.extract.settings import class_names, describe
from paddlevideo.loader.store import ClassTargets, Clip
from paddlevideo.utils.errors import ConfigError, DataError

#: To be increased when the same settings give other features than before.
VERSION = 3
TRIAL = (48, 64)  # pixels of the blank frame that every network must take


#: The classes of networks, by those of their settings.
NETWORKS: dict[type, Any] = {
    kinds.PicodetDetector: NetworkRegions,
    kinds.BoxesDetector: NetworkRegions,
    kinds.PaddleDetector: NetworkRegions,
    kinds.CropVectors: CropRegions,
    kinds.MapVectors: MapRegions,
    kinds.NetworkActions: NetworkMotion,
    kinds.FrameActions: FrameMotion,
}
#: Finds regions in a frame, with the help of a later one where ``follows``.
Detector = ClassicalRegions | NetworkRegions
#: Describes boxes of a frame.
RegionVectors = ClassicalAppearance | CropRegions | MapRegions
#: Describes windows of frames.
Motion = ClassicalMotion | NetworkMotion | FrameMotion


@dataclass
class ClipFrames:
    """Frames of a clip by index: as they are for regions, reduced for actions."""

    regions: dict[int, np.ndarray] = field(default_factory=dict)
    actions: dict[int, np.ndarray] = field(default_factory=dict)


class Extractor:
    """Everything that the settings name, loaded and tried on a blank frame.

    Raises ConfigError for a model that cannot be run or does not fit its settings.
    """

    def __init__(self, settings: Settings, threads: int = 0) -> None:
        self.settings = settings
        planes = PlaneCache()
        self.detector: Detector = _part(settings.regions.detector, planes, threads)
        self.vectors: RegionVectors | None = _part(settings.regions.vectors, planes, threads)
        self.motion: Motion = _part(settings.actions.vectors, planes, threads)
        try:
            self._run_once()
        except ConfigError:
            raise
        except DataError as error:
            raise ConfigError(f"on a blank frame: {error}") from None
        #: The settings with the checksums of their models, for the manifest.
        self.description = {"version": VERSION, **_with_checksums(describe(settings))}

    def fingerprint(self, dtype: str) -> str:
        """Returns a digest, equal where the same video gives the same records."""
        # The contents of a model matter, not its path.
        plain = _without_paths(self.description)
        text = json.dumps([dtype, plain], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def vocabularies(self) -> dict[str, list[str]]:
        """Names of classes, where they are known."""
        by_vectors = isinstance(self.vectors, CropRegions) and self.vectors.gives_classes
        regions = self.vectors.names if by_vectors else self.detector.names  # type: ignore[union-attr]
        known = {"region": regions, "action": self.motion.names}
        return {kind: list(names) for kind, names in known.items() if names}

    @property
    def has_networks(self) -> bool:
        """Whether anything but classical features is computed."""
        return bool(self._networks)

    @property
    def notes(self) -> list[str]:
        """What was guessed about networks."""
        return [note for network in self._networks for note in network.notes]

    @property
    def _networks(self) -> list[Network]:
        parts = (self.detector, self.vectors, self.motion)
        return [part.network for part in parts if part is not None and hasattr(part, "network")]

    def frames_of(self, plan: ClipPlan) -> tuple[set[int], set[int]]:
        """Returns indices of the frames that a clip needs for regions, and those for actions."""
        followers = plan.followers if self.detector.follows else []
        return {*plan.regions, *followers}, {frame for window in plan.actions for frame in window}

    def clip(self, plan: ClipPlan, frames: ClipFrames, video: str) -> tuple[Clip, bool]:
        """Returns the clip, and whether no region was found: then its region is the whole frame.

        Raises DataError where a network fails or a feature is NaN or infinite.
        """
        regions, is_empty = self._regions(plan, frames.regions)
        windows = [np.stack([frames.actions[index] for index in each]) for each in plan.actions]
        actions, action_classes = self.motion.describe(windows, plan.interval)
        height, width = frames.regions[plan.middle].shape[:2]
        name = plan.piece.id
        assert regions.vectors is not None
        clip = Clip(
            id=name,
            regions=_finite(regions.vectors, "regions", name),
            boxes=regions.boxes,
            image_h=height,
            image_w=width,
            actions=_finite(actions, "actions", name),
            action_classes=action_classes,
            region_classes=ClassTargets.of(regions.classes),
            video="" if video == name else video,
            extra={"frames": " ".join(map(str, regions.frames))},
        )
        return clip, is_empty

    def _regions(self, plan: ClipPlan, frames: Mapping[int, np.ndarray]) -> tuple[_Regions, bool]:
        """Returns the best regions of all frames, after the whole frame where it is requested.

        Of equal scores the earlier frame's comes first.
        """
        settings = self.settings.regions
        detected = self._detect(plan, frames)
        scores = np.concatenate([each.scores for each in detected])
        best = np.argsort(-scores, kind="stable")[: settings.max_regions - settings.whole_frame]
        vectors = [each.vectors for each in detected if each.vectors is not None]
        rows = _Regions(
            np.concatenate([each.boxes for each in detected])[best],
            np.concatenate([each.classes for each in detected])[best],
            np.repeat(plan.regions, [len(each.boxes) for each in detected])[best],
            np.concatenate(vectors)[best] if vectors else None,
        )
        if settings.whole_frame or not len(best):
            overall = detected[len(detected) // 2].overall
            rows = rows.after_whole_frame(plan.middle, frames[plan.middle], self.detector, overall)
        if self.vectors is not None:
            rows.describe(self.vectors, frames)
        return rows, not len(best)

    def _detect(self, plan: ClipPlan, frames: Mapping[int, np.ndarray]) -> list[Detections]:
        if isinstance(self.detector, NetworkRegions):
            return self.detector.find([frames[index] for index in plan.regions])
        return [
            self.detector.find(frames[index], frames[after])
            for index, after in zip(plan.regions, plan.followers, strict=True)
        ]

    def _run_once(self) -> None:
        """Runs every network once, so that errors are reported before the first video."""
        frame = np.full((*TRIAL, 3), 127, np.uint8)
        box = np.array([[0, 0, TRIAL[1], TRIAL[0]]], np.float32)
        if isinstance(self.detector, NetworkRegions):
            self.detector.find([frame])
        if isinstance(self.vectors, CropRegions | MapRegions):
            self.vectors.describe([(frame, box)])
        window = np.stack([self.motion.reduce(frame)] * self.settings.actions.frames)
        self.motion.describe([window], 1.0)


@dataclass
class _Regions:
    """The regions of a clip, n of them."""

    boxes: np.ndarray  # n, 4
    classes: np.ndarray  # n, C + 1
    frames: np.ndarray  # n: the index of each region's frame
    vectors: np.ndarray | None  # n, F; None before they are computed

    def describe(self, vectors: RegionVectors, frames: Mapping[int, np.ndarray]) -> None:
        """Sets the vectors, each frame's at once, and the classes where ``vectors`` tells them."""
        chosen = [np.flatnonzero(self.frames == index) for index in np.unique(self.frames)]
        boxed: list[Boxed] = [
            (frames[int(self.frames[rows[0]])], self.boxes[rows]) for rows in chosen
        ]
        if isinstance(vectors, ClassicalAppearance):
            found = Described(np.concatenate([vectors.describe(*each) for each in boxed]))
        else:
            found = vectors.describe(boxed)
        order = np.argsort(np.concatenate(chosen), kind="stable")
        self.vectors = found.vectors[order]
        if found.classes is not None:
            self.classes = found.classes[order]

    def after_whole_frame(
        self, index: int, frame: np.ndarray, detector: Detector, vector: np.ndarray | None
    ) -> _Regions:
        """Returns the whole frame, and the regions behind it."""
        box = np.array([[0, 0, frame.shape[1], frame.shape[0]]], np.float32)
        known = self.vectors is not None and vector is not None
        return _Regions(
            np.concatenate([box, self.boxes]),
            np.concatenate([detector.whole(frame), self.classes]),
            np.concatenate([[index], self.frames]).astype(int),
            np.concatenate([vector[None], self.vectors]) if known else self.vectors,  # type: ignore[index]
        )


def _finite(rows: np.ndarray, name: str, clip: str) -> np.ndarray:
    if not np.isfinite(rows).all():
        raise DataError(f'clip "{clip}": {name} hold NaN or infinity: check the network')
    return rows


def _part(settings: Any, planes: PlaneCache, threads: int) -> Any:
    """Returns the part with these settings; None for vectors that the detector gives."""
    match settings:
        case kinds.ClassicalDetector():
            return ClassicalRegions(settings, planes)
        case kinds.ClassicalVectors():
            return ClassicalAppearance(settings, planes)
        case kinds.ClassicalActions():
            return ClassicalMotion(settings)
        case kinds.ThingActions():
            return ThingMotion(settings)
        case kinds.DetectorVectors():
            return None
    network = NETWORKS[type(settings)]
    return network(settings, threads)


def _with_checksums(values: dict[str, Any]) -> dict[str, Any]:
    """Returns ``values`` with ``sha256`` beside each ``model``, and class names read from files."""
    changed: dict[str, Any] = {}
    for key, value in values.items():
        is_part = isinstance(value, dict) and key != "outputs"  # whose classes are an output
        changed[key] = _with_checksums(value) if is_part else value
        if key == "model":
            changed["sha256"] = model_files(value).checksum()
        if key == "classes":
            changed[key] = class_names(value)
    return changed


def _without_paths(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_paths(value) if isinstance(value, dict) else value
        for key, value in values.items()
        if key != "model"
    }
