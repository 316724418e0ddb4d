"""Renders the demo's videos, captions and splits, unless they exist already."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.pool import Pool
from pathlib import Path

import numpy as np

import paddlevideo
from paddlevideo.demo import grammar
from paddlevideo.demo.render import choose_container, render, write_video
from paddlevideo.extract.extractor import VERSION
from paddlevideo.files.partials import sweep
from paddlevideo.files.whole import write_folder_whole
from paddlevideo.utils.children import quiet_worker, terminable
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.opencv import cv2
from paddlevideo.utils.progress import track

SUMMARY = "demo.json"  # written last: a folder that has it is complete
SPLITS = ("train", "valid", "test")
#: Smallest allowed value of each setting.
MINIMUM = {"train": 2, "valid": 1, "test": 1, "frames": 8, "side": 48, "seed": 0}


@dataclass(frozen=True)
class Settings:
    """Settings of the data: clips in each split, frames in a clip, its side in pixels, the seed."""

    train: int = 1440
    valid: int = 64
    test: int = 128
    frames: int = 16
    side: int = 96
    seed: int = 0

    def check(self) -> None:
        """Raises DataError unless ``side`` is a multiple of 4."""
        if self.side % 4:
            raise DataError(f"--side {self.side}: expected a multiple of 4")


@dataclass(frozen=True)
class Job:
    """One clip to render, in any process."""

    folder: Path
    split: str
    index: int
    scene: grammar.Scene
    settings: Settings


@dataclass(frozen=True)
class Rendered:
    """A clip's id, its captions, and its plain ones for the demo of captioning."""

    name: str
    captions: tuple[str, ...]
    plain: tuple[str, ...]


def build(output: Path, settings: Settings, workers: int = 0) -> dict[str, object]:
    """Writes ``output`` unless it has the same data already, and returns its summary.

    ``workers`` processes share the work (0: one per core); the data do not depend on it. ``output``
    appears complete or not at all. Data of another version of this program are replaced, with the
    features that were extracted into the folder. Raises DataError, and changes nothing, if
    ``output`` is a folder of anything else.
    """
    settings.check()
    if summary := read_complete(output, settings):
        sweep(output.parent)  # leftovers of a killed process
        return summary
    _check_replaceable(output)
    scenes = grammar.sample_scenes({s: getattr(settings, s) for s in SPLITS}, settings.seed)
    summaries: list[dict[str, object]] = []

    def write(folder: Path) -> None:
        (folder / "videos").mkdir()
        jobs = [
            Job(folder, split, index, scene, settings)
            for split in SPLITS
            for index, scene in enumerate(scenes[split])
        ]
        splits: dict[str, list[Rendered]] = {split: [] for split in SPLITS}
        for job, clip in zip(jobs, _run(jobs, workers), strict=True):
            splits[job.split].append(clip)
        _write_lists(folder, splits)
        summaries.append(_summarise(folder, settings))
        (folder / SUMMARY).write_text(json.dumps(summaries[0], indent=2) + "\n", "utf-8")

    with terminable():
        write_folder_whole(output, write)
    return summaries[0]


def read_complete(output: Path, settings: Settings) -> dict[str, object] | None:
    """Returns the summary of ``output``, if it was made with ``settings`` and is complete."""
    try:
        summary = json.loads((output / SUMMARY).read_text("utf-8"))
        is_same = summary["settings"] == asdict(settings) and summary["program"] == _program()
        sizes = summary["files"].items()
        is_whole = all((output / name).stat().st_size == size for name, size in sizes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return summary if is_same and is_whole else None


def make_clip(job: Job) -> Rendered:
    """Renders one clip and writes its video.

    Randomness comes from (seed, split, index) alone: clips do not depend on each other.
    """
    cv2.setNumThreads(1)  # the processes share the cores already
    settings = job.settings
    rng = np.random.default_rng((settings.seed, 1 + SPLITS.index(job.split), job.index))
    name = f"{job.split}{job.index:04d}"
    if job.split == "train":
        captions = grammar.training_captions(job.scene, rng)
    else:
        captions = [grammar.caption(job.scene, rng)]
    ending, codec = choose_container(rng)
    path = job.folder / "videos" / (name + ending)
    write_video(path, codec, render(job.scene, settings.frames, settings.side, rng))
    return Rendered(name, tuple(captions), tuple(grammar.plain_captions(job.scene)))


def _run(jobs: list[Job], workers: int) -> Iterator[Rendered]:
    """Yields the clips in the order of ``jobs``, with a progress bar on a terminal."""
    count = min(workers or len(os.sched_getaffinity(0)), len(jobs))
    if count == 1:
        yield from track(map(make_clip, jobs), "render", len(jobs), "clips")
        return
    # Fresh processes: threads of the parent's libraries do not survive a fork.
    with _pool(count) as pool:
        clips = pool.imap(make_clip, jobs, chunksize=8)
        yield from track(clips, "render", len(jobs), "clips")


def _pool(count: int) -> Pool:
    """Returns a pool whose processes ignore Ctrl-C from the start, and leave it to this one."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return multiprocessing.get_context("spawn").Pool(count, quiet_worker, (os.getpid(),))
    finally:
        signal.signal(signal.SIGINT, before)


def _write_lists(folder: Path, splits: dict[str, list[Rendered]]) -> None:
    """Writes the captions of all clips, the ids of those for validation and test, and the plain
    captions of each split.
    """
    _write_captions(folder / "captions.csv", [clip for each in splits.values() for clip in each])
    for split in ("valid", "test"):
        names = "".join(f"{clip.name}\n" for clip in splits[split])
        (folder / f"{split}.txt").write_text(names, "utf-8")
    for split, clips in splits.items():
        plain = [replace(clip, captions=clip.plain) for clip in clips]
        _write_captions(folder / f"plain_{split}.csv", plain)


def _write_captions(path: Path, clips: Sequence[Rendered]) -> None:
    """Writes lines ``clip id,caption`` without a header; captions have no commas."""
    lines = (f"{clip.name},{text}\n" for clip in clips for text in clip.captions)
    path.write_text("".join(lines), "utf-8")


def _summarise(folder: Path, settings: Settings) -> dict[str, object]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "settings": asdict(settings),
        "program": _program(),
        "files": {path.relative_to(folder).as_posix(): path.stat().st_size for path in files},
    }


def _program() -> str:
    """Returns a checksum of this package and the versions that extraction depends on."""
    digest = hashlib.sha256(f"{VERSION} {paddlevideo.__version__}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _check_replaceable(output: Path) -> None:
    if output.is_dir():
        if any(output.iterdir()) and not (output / SUMMARY).is_file():
            raise DataError(f"{output}: is in use for something else: choose another --output")
    elif output.exists():
        raise DataError(f"{output}: is a file: choose another --output")
