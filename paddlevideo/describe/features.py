"""Features of videos, extracted as those that weights were trained with."""

from __future__ import annotations

import csv
import io
import json
import sys
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
from paddlevideo.extract.work import ExtractOptions
from paddlevideo.tasks.run_folder import EXTRACTION
from paddlevideo.utils.errors import ConfigError, DataError


@dataclass(frozen=True)
class Extraction:
    """How videos become clips with features.

    ``config``: a YAML file of ``configs/extract/``; None: as the weights' training clips.
    ``seconds``: length of a clip; None: as in the settings.
    """

    config: str | None = None
    seconds: float | None = None
    workers: int | None = None


@contextmanager
def features_of(videos: Sequence[Path], weights: Path, wanted: Extraction) -> Iterator[Path]:
    """Yields a feature store of ``videos``, which is removed afterwards.

    ``videos``: video files, or one folder or list, as ``paddlevideo extract`` takes it. Raises
    ConfigError if it is unknown how to extract, and DataError if no video could be used or, once
    the others have been described, if some could not.
    """
    with tempfile.TemporaryDirectory(prefix="paddlevideo-") as name:
        folder = Path(name)
        settings = wanted.config or _settings_beside(weights, folder / "extraction.yaml")
        seconds = [] if wanted.seconds is None else [f"clips.seconds={wanted.seconds}"]
        options = ExtractOptions(
            _source(videos, folder / "videos.csv"),
            folder / "features.store",
            settings,
            seconds,
            workers=wanted.workers,
        )
        # What is printed is the model's, unless a video failed.
        with redirect_stdout(io.StringIO()) as summary:
            failed = extract(options)
        if failed:
            print(summary.getvalue(), end="", file=sys.stderr)
        if not options.output.is_dir():
            raise DataError("no video could be used; the reasons stand above")
        yield options.output
        if failed:
            raise DataError("not all videos could be described; the reasons stand above")


def _source(videos: Sequence[Path], listed: Path) -> Path:
    """Returns the only path, or a file that lists all of them."""
    if len(videos) == 1:
        return videos[0]
    if folders := [video for video in videos if video.is_dir()]:
        raise ConfigError(f"{folders[0]}: give one folder, or one or more video files")
    stems = Counter(video.stem for video in videos)
    with open(listed, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["video", "clip"])
        for video in videos:
            name = video.stem if stems[video.stem] == 1 else str(video)
            rows.writerow([str(video.resolve()), name])
    return listed


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
