"""Extraction by the processes of this machine, and by a local Ray: what Ray costs."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.sides import ROOT, shown, spread

#: The words that each side adds to the command.
SIDES = {"processes": [], "ray": ["--ray", "local"]}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``benchmark.py extract``."""
    from paddlevideo.utils.options import as_path
    from paddlevideo.utils.ranges import count

    parser.add_argument("folder", type=as_path, metavar="VIDEOS", help="a folder of videos")
    parser.add_argument("--videos", type=count, default=400, help="how many of them (default 400)")
    parser.add_argument("--rounds", type=count, default=3, help="runs of each side (default 3)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Returns seconds, start and end included, and frames per second of each side; in turns."""
    from paddlevideo.extract.videos import read_videos

    videos = read_videos(options.folder)[: options.videos]
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    frames = 0
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "videos.txt"
        listed.write_text("".join(f"{video.path.absolute()}\n" for video in videos))
        for turn in range(options.rounds):
            for name, words in SIDES.items():
                store = Path(folder) / f"{name}{turn}.store"
                started = time.perf_counter()
                extract(["extract", str(listed), "--output", str(store), *words])
                seconds[name].append(time.perf_counter() - started)
                frames = frames_of(store)
    sides = {
        name: {"seconds": spread(each), "frames_per_second": spread([frames / s for s in each])}
        for name, each in seconds.items()
    }
    return {"videos": len(videos), "frames": frames, **sides}


def extract(words: list[str]) -> None:
    """Runs ``paddlevideo`` in a process of its own."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "paddlevideo", *words]
    subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.DEVNULL, check=True
    )


def frames_of(store: Path) -> int:
    """Returns the number of frames that were decoded for a store."""
    lines = Path(f"{store}.status.jsonl").read_text("utf-8").splitlines()
    return sum(json.loads(line)["frames"] for line in lines)


def show(report: dict[str, Any]) -> None:
    """Prints the report."""
    print(f"{report['videos']} videos, {report['frames']:,} frames: seconds, frames per second")
    for name in SIDES:
        print(name.ljust(10), *map(shown, report[name].values()))
