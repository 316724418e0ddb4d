"""Reserves an output folder for one run: its files carry the run's identity."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddlevideo.checkpoint import Checkpoints
from paddlevideo.config import Config, RunSettings
from paddlevideo.files.lock import FolderLock
from paddlevideo.files.whole import read_json, write_json_whole
from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.nested import texts_in

log = logging.getLogger("paddlevideo")

#: Files that a run writes besides checkpoints. Curves are never mixed with another run's.
RECORD, LOG, CONFIG, SKIPPED = "run.json", "log.txt", "config.yaml", "skipped_clips.jsonl"
#: How the features of the training clips were extracted from videos, if that is known.
EXTRACTION = "extraction.json"
CURVES = ("train.jsonl", "curves.png", "tensorboard/events.out.tfevents.*", "visualdl/vdlrecords.*")

ADVICE = (
    "Continue it with --resume auto, choose another folder with -o output_dir=FOLDER, or remove "
    "its checkpoints and curves with --overwrite"
)


def take_folder(lock: FolderLock, settings: RunSettings, training: Config | None) -> str:
    """Locks a folder and returns the identity of the training run, or "" for a test.

    Raises ConfigError, and leaves the folder unchanged, if it belongs to another run.
    """
    lock.acquire()
    if training is None:
        return ""
    try:
        check_inputs_stay(lock.folder, settings, training)
        return run_identity(lock.folder, settings)
    except BaseException:
        lock.release()
        raise


def run_identity(folder: Path, settings: RunSettings) -> str:
    """Returns the identity of the run that a training in ``folder`` resumes, or a new one.

    Writes nothing. Raises ConfigError if the folder contains files that training would overwrite.
    """
    if settings.overwrite and _resumes(settings):
        raise ConfigError("overwrite and resume exclude each other: leave one of them out")
    checkpoints = Checkpoints(folder, settings.model_name)
    files = checkpoints.files()
    others = Checkpoints.names_in(folder) - {settings.model_name}
    if others and not (files and _resumes(settings)):
        raise ConfigError(
            f"{folder} contains checkpoints of a run with another model_name, "
            f"{' and '.join(sorted(others))}: choose another folder with -o output_dir=FOLDER"
        )
    if not files or settings.overwrite:
        return uuid.uuid4().hex
    if not _resumes(settings):
        raise ConfigError(f"{folder} contains {_other_run(folder, files)}. {ADVICE}")
    return _resumed_identity(folder, checkpoints, files)


def _resumes(settings: RunSettings) -> bool:
    return bool(settings.resume or settings.resume_epoch)


def _other_run(folder: Path, files: list[Path]) -> str:
    """Describes the run whose checkpoints are in ``folder``, for a message."""
    record = read_record(folder)
    begun = f", begun {record['begun']}" if record.get("begun") else ""
    more = f" and {len(files) - 1} other files" if files[1:] else ""
    return f"the checkpoints of another run{begun} ({files[0].name}{more})"


def _resumed_identity(folder: Path, checkpoints: Checkpoints, files: list[Path]) -> str:
    """Returns the identity of the checkpoints' run, which older releases did not record."""
    runs = checkpoints.runs()
    named = {identity: tags for identity, tags in runs.items() if identity}
    if len(named) > 1:
        lists = "; ".join(", ".join(sorted(tags)) for tags in named.values())
        raise ConfigError(
            f"{folder} contains checkpoints of {len(named)} runs ({lists}): move those that you do "
            "not want to resume to another folder"
        )
    if named:
        return next(iter(named))
    record = read_record(folder)
    if not runs and not record:
        raise ConfigError(
            f"{folder} contains {files[0].name} without its manifest (.json), so it cannot be "
            "resumed, and training would overwrite it. Start from it with -w in another folder "
            "(-o output_dir=FOLDER), or replace it with --overwrite"
        )
    return str(record.get("run") or uuid.uuid4().hex)


def read_record(folder: Path) -> dict[str, Any]:
    """Returns the content of ``run.json``; empty if it cannot be read."""
    record = read_json(folder / RECORD)
    return record if isinstance(record, dict) else {}


def begin_in(folder: Path, settings: RunSettings, identity: str, is_new: bool) -> None:
    """Prepares the folder for the run ``identity`` and removes files of an earlier run.

    ``is_new``: the run starts with its first step. Curves are removed only if their run has
    recorded its identity, or is overwritten; all other files stay.
    """
    checkpoints = Checkpoints(folder, settings.model_name)
    record = read_record(folder)
    if is_new:
        is_ours = bool(record) or (settings.overwrite and bool(checkpoints.runs()))
        if settings.overwrite:
            checkpoints.remove()
            (folder / LOG).unlink(missing_ok=True)
        for pattern in (SKIPPED, *(CURVES if is_ours else ())):
            for path in folder.glob(pattern):
                path.unlink()
    if record.get("run") != identity:
        write_record(folder, settings.model_name, identity)


def write_record(folder: Path, model_name: str, identity: str) -> None:
    """Writes ``run.json``."""
    record = {
        "run": identity,
        "model_name": model_name,
        "begun": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": shlex.join(sys.argv),
    }
    write_json_whole(folder / RECORD, record)


def check_inputs_stay(folder: Path, settings: RunSettings, config: Mapping[str, Any]) -> None:
    """Raises ConfigError if the configuration names a file that ``overwrite`` would remove."""
    if not settings.overwrite:
        return
    files = Checkpoints(folder, settings.model_name).files()
    removed = {os.path.realpath(name) for path in files for name in (path, path.with_suffix(""))}
    for key, value in texts_in(config):
        if "\0" not in value and os.path.realpath(value) in removed:
            raise ConfigError(
                f"{key}: {value} is one of the checkpoints that --overwrite removes: choose "
                "another folder with -o output_dir=FOLDER, or copy the file elsewhere first"
            )
