"""A store of many small clips: time and memory of writing, opening and reading it."""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.sides import Side, run_side

WIDTH, SAMPLES = 8, 20_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``benchmark.py store``."""
    from paddlevideo.utils.options import as_path
    from paddlevideo.utils.ranges import count

    parser.add_argument("--clips", type=count, default=5_000_000, help="default: 5 million")
    parser.add_argument(
        "--shards", type=count, default=100, help="approximate number (default 100)"
    )
    parser.add_argument("--folder", type=as_path, default=Path("build/store"), help="removed after")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Writes the store, then reads it in a fresh process."""
    shutil.rmtree(options.folder, ignore_errors=True)
    start = time.perf_counter()
    write(options.folder, options.clips, options.shards)
    seconds = time.perf_counter() - start
    report = {
        "clips": options.clips,
        "clips_written_per_second": options.clips / seconds,
        "writer_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "bytes": sum(path.stat().st_size for path in options.folder.iterdir()),
    }
    options.folder = options.folder.resolve()
    reader = Side("benchmarks.store", "read", options)
    reader.close()
    shutil.rmtree(options.folder)
    return {**report, **reader.about}


def write(folder: Path, clips: int, shards: int) -> None:
    """Writes clips with an id, a caption and tiny features."""
    from paddlevideo.loader.store import ClassTargets, Clip, Sizes, StoreWriter, writer

    features = np.ones((1, WIDTH), np.float32)
    box = np.array([[0, 0, 10, 10]], np.float32)
    classes, action = ClassTargets.of(np.ones((1, 1))), np.zeros(1, np.int64)
    writer.BATCH_BYTES = min(writer.BATCH_BYTES, max(1, 700 * clips // shards))
    # A shard is closed after the batch that takes it past this size.
    with StoreWriter(folder, Sizes(WIDTH, WIDTH, 1, 1), shard_bytes=700 * clips // shards) as store:
        for index in range(clips):
            caption = f"the caption of clip number {index}"
            store.add(
                Clip(
                    *(f"video{index // 50}_{index % 50}", features, box, 10, 10),
                    *(features, action, classes, [caption]),
                )
            )
        store.finish()


def read(folder: Path) -> dict[str, Any]:
    """Measures opening the store, and reading it in the order of an epoch and at random."""
    from paddlevideo.loader.order import WINDOW, ShuffledBlocks
    from paddlevideo.loader.store import FeatureStore

    before = resident()
    start = time.perf_counter()
    store = FeatureStore(folder)
    opened = time.perf_counter() - start
    after_opening = resident()
    store[0]
    rng = np.random.default_rng(0)
    samples = min(SAMPLES, len(store))
    random = rng.integers(len(store), size=samples).tolist()
    # The order that training takes by itself where a data set is larger than the window.
    shuffled = ShuffledBlocks(len(store), seed=0, window=WINDOW).part(0, 0, samples).tolist()
    speeds = {}
    for name, indices in (("shuffled", shuffled), ("random", random)):
        start = time.perf_counter()
        for index in indices:
            store[index]
        speeds[f"{name}_clips_per_second"] = samples / (time.perf_counter() - start)
    return {
        "shards": len(store.manifest.shards),
        "open_seconds": opened,
        "memory_of_opening_mb": (after_opening - before) / 2**20,
        "memory_after_reading_mb": (resident() - before) / 2**20,
        **speeds,
    }


def resident() -> int:
    """Returns the bytes of private memory; LMDB's maps are the system's cache."""
    fields = Path("/proc/self/status").read_text().splitlines()
    (line,) = (field for field in fields if field.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def show(report: dict[str, Any]) -> None:
    """Prints the report."""
    print(
        f"{report['clips']:,} clips in {report['shards']} shards, {report['bytes'] / 1e9:.2f} GB\n"
        f"  written at {report['clips_written_per_second']:,.0f} clips/s, the writer's peak "
        f"{report['writer_peak_mb']:.0f} MB\n"
        f"  opened in {1000 * report['open_seconds']:.1f} ms; memory of the process "
        f"+{report['memory_of_opening_mb']:.1f} MB, after reading "
        f"+{report['memory_after_reading_mb']:.1f} MB\n"
        f"  read at {report['shuffled_clips_per_second']:,.0f} clips/s in the shuffled order, "
        f"{report['random_clips_per_second']:,.0f} at random"
    )


if __name__ == "__main__":
    run_side(read=lambda options: print(json.dumps(read(Path(options.folder)))))
