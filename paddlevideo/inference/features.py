"""Features of videos, extracted as those that weights were trained with."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddlevideo.extract.models import EFFICIENTNET, model_files
from paddlevideo.extract.run import extract
from paddlevideo.extract.settings import as_yaml_map
from paddlevideo.extract.work import FAILED, ExtractOptions
from paddlevideo.tasks.run_folder import EXTRACTION
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.printable import some


@dataclass(frozen=True)
class Extraction:
    """How videos become clips with features.

    ``config``: a YAML file of ``configs/extract/``; None: as the weights' training clips.
    ``seconds``: length of a clip; None: as in the settings. ``workers``: processes; None: one per
    core, or one if networks are used. ``skip_failed``: leaves out videos that cannot be used, with
    a warning, instead of raising an error.
    """

    config: str | None = None
    seconds: float | None = None
    workers: int | None = None
    skip_failed: bool = False


@contextmanager
def features_of(videos: Sequence[Path], weights: Path, wanted: Extraction) -> Iterator[Path]:
    """Yields a feature store of ``videos``, which is removed afterwards.

    ``videos``: video files, or one folder or list, as ``paddlevideo extract`` takes it. Raises
    ConfigError if it is unknown how to extract, and DataError if a video is missing, if none could
    be used or, once the others have been described, if some could not.
    """
    with tempfile.TemporaryDirectory(prefix="paddlevideo-") as folder:
        store, failed = extract_as_trained(videos, weights, wanted, Path(folder))
        yield store
        if failed and not wanted.skip_failed:
            raise DataError(failed)


def extract_as_trained(
    videos: Sequence[Path], weights: Path, wanted: Extraction, folder: Path
) -> tuple[Path, str]:
    """Returns a feature store of ``videos`` in ``folder``, and which of them failed, or "".

    Raises ConfigError if it is unknown how to extract, and DataError if no video could be used.
    """
    settings = wanted.config or _settings_beside(weights, folder / "extraction.yaml")
    seconds = [] if wanted.seconds is None else [f"clips.seconds={wanted.seconds}"]
    source, shared = _listed(videos, folder / "videos.csv")
    options = ExtractOptions(
        source,
        folder / "features.store",
        settings,
        seconds,
        base=shared,
        # All of them, also on a rank of a launcher: the store is this process's own.
        part="1/1",
        workers=wanted.workers,
    )
    with redirect_stdout(io.StringIO()):  # what is printed is the model's
        failed = _failures(options.output) if extract(options) else ""
    if not options.output.is_dir():
        raise DataError(failed or "no video could be used")
    return options.output, failed


def _failures(store: Path) -> str:
    """Returns a line on the videos that could not be used."""
    path = store.with_name(f"{store.name}.status.jsonl")
    statuses = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    failed = [each for each in statuses if each["status"] == FAILED]
    reasons = [
        reason if Path(video).name in reason else f"{video}: {reason}"
        for video, reason in ((each["video"], each["reason"]) for each in failed)
    ]
    return f"{len(failed)} of {len(statuses)} videos could not be used: {some(reasons, 3, '; ')}"


def _listed(videos: Sequence[Path], path: Path) -> tuple[Path, Path | None]:
    """Returns the only video, or ``path`` with a list of all, and the folder that all share.

    Videos are called by their paths in that folder. Raises ConfigError for a folder among several
    or a video that is listed twice, and DataError for a missing video.
    """
    if len(videos) == 1:
        return videos[0], None
    every = [os.path.abspath(video) for video in videos]
    if twice := next((video for video, times in Counter(every).items() if times > 1), None):
        raise ConfigError(f"{twice}: is listed twice: list each video once")
    if folders := [video for video in videos if video.is_dir()]:
        raise ConfigError(f"{folders[0]}: give one folder, or one or more video files")
    if missing := next((video for video in videos if not video.exists()), None):
        raise DataError(f"{missing}: there is no such file. Check the path")
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["video"], *([video] for video in every)])
    return path, Path(os.path.commonpath([os.path.dirname(video) for video in every]))


def _settings_beside(weights: Path, path: Path) -> str:
    """Writes the extraction settings of the training clips to ``path``, and returns it as text."""
    record = weights.parent / EXTRACTION
    if not record.is_file():
        raise ConfigError(
            f"{weights}: there is no {EXTRACTION} beside it, which says how the features of its "
            "training clips were extracted from videos. Name the settings, as in --extraction "
            "extract/classical.yaml, or give features with --features"
        )
    described = json.loads(record.read_text(encoding="utf-8"))
    for model, sha256 in _models(described):
        is_there = model == EFFICIENTNET or Path(model).exists()
        if is_there and model_files(model).checksum() != sha256:
            raise ConfigError(
                f"{model}: is not the network that the training clips' features are from "
                f"({record}): put that one there, or name other settings with --extraction"
            )
    # JSON is YAML.
    path.write_text(json.dumps(as_yaml_map(described)), encoding="utf-8")
    return str(path)


def _models(described: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields path and checksum of each network."""
    if "sha256" in described:
        yield described["model"], described["sha256"]
    for value in described.values():
        if isinstance(value, Mapping):
            yield from _models(value)
