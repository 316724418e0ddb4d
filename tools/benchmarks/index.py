"""The first stage of a search among many clips: time, memory and recall of each engine.

Vectors are drawn around centres of several topics, in few directions, or around the real ones of
--vectors; queries are vectors with noise, as sentences are. Each engine runs in a process of its
own, and its results are compared with those of NumPy.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.sides import Side, run_side
from benchmarks.store import resident

ENGINES = ("numpy", "cells", "graph", "milvus", "milvus_graph")
#: Without the graph, which takes long to build.
USUAL = [name for name in ENGINES if name != "graph"]
TOPICS, CENTRES, DIRECTIONS, SPREAD, NOISE = 64, 2000, 48, 0.7, 1.0
QUERIES, BATCH, DEPTHS = 256, 32, (10, 32)
BLOCK = 1 << 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``benchmark.py index``."""
    from paddlevideo.utils.options import as_path
    from paddlevideo.utils.ranges import count

    parser.add_argument("--clips", type=count, default=1_000_000, help="default: 1 million")
    parser.add_argument("--width", type=count, default=512, help="of the vectors (default 512)")
    parser.add_argument(
        "--vectors", type=as_path, metavar="FILE.npy", help="real vectors to draw around"
    )
    parser.add_argument(
        "--engines", nargs="+", choices=ENGINES, default=USUAL, help="default: all but graph"
    )
    parser.add_argument("--folder", type=as_path, default=Path("build/index"), help="removed after")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Writes vectors and queries, then measures one engine after the other."""
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    options.folder = options.folder.resolve()
    draw(options)
    report = {"clips": options.clips, "width": options.width, "engines": {}}
    for name in dict.fromkeys(["numpy", *options.engines]):
        side = Side("benchmarks.index", "engine", options, engine=name)
        side.close()
        report["engines"][name] = side.about
    shutil.rmtree(options.folder)
    return report


def draw(options: argparse.Namespace) -> None:
    """Writes ``vectors.npy`` and ``queries.npy``, block by block."""
    rng = np.random.default_rng(0)
    real = None if options.vectors is None else np.load(options.vectors, mmap_mode="r")
    width = options.width if real is None else real.shape[1]
    topics = unit(rng.normal(size=(TOPICS, width)))[rng.integers(TOPICS, size=CENTRES)]
    centres = topics + unit(rng.normal(size=(CENTRES, width))) if real is None else real
    directions = rng.normal(size=(DIRECTIONS, width)) / np.sqrt(DIRECTIONS)

    def around(points: np.ndarray, spread: float) -> np.ndarray:
        noise = rng.normal(size=(len(points), DIRECTIONS)) @ directions
        return unit(unit(points) + spread * unit(noise))

    shape = (options.clips, width)
    vectors = np.lib.format.open_memmap(
        options.folder / "vectors.npy", mode="w+", dtype=np.float32, shape=shape
    )
    for first in range(0, options.clips, BLOCK):
        chosen = rng.integers(len(centres), size=min(BLOCK, options.clips - first))
        vectors[first : first + len(chosen)] = around(centres[chosen], SPREAD)
    some = vectors[np.sort(rng.integers(options.clips, size=QUERIES))]
    np.save(options.folder / "queries.npy", around(some, NOISE).astype(np.float32))
    vectors.flush()


def unit(rows: np.ndarray) -> np.ndarray:
    """Returns rows of length 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


# ------------------------------------------------------------------ in the process of an engine


class Graph:
    """faiss's graph of neighbours (HNSW), for comparison with the cells."""

    def __init__(self, vectors: np.ndarray) -> None:
        from paddlevideo.retrieval.nearest import import_faiss

        faiss = import_faiss()
        self._index = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction, self._index.hnsw.efSearch = 80, 128
        for first in range(0, len(vectors), BLOCK):
            self._index.add(np.ascontiguousarray(vectors[first : first + BLOCK]))
        self._write = faiss.write_index

    def write(self, path: Path) -> None:
        """Writes all of it, with the vectors."""
        self._write(self._index, str(path))

    def search(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns positions and similarities."""
        similarities, positions = self._index.search(queries, count)
        return positions, similarities


def build(name: str, vectors: np.ndarray, queries: np.ndarray, folder: Path) -> tuple[Any, int]:
    """Returns an engine, and the bytes that it has on the disk besides the vectors."""
    from paddlevideo.retrieval.nearest import Approximate, Exact

    if name == "numpy":
        return Exact(vectors), 0
    if name.startswith("milvus"):
        return build_milvus(name, vectors, queries, folder)
    engine: Any = Graph(vectors) if name == "graph" else Approximate(vectors)
    if name == "cells":
        engine.tune(queries[: len(queries) // 2])
    engine.write(folder / name)
    return engine, (folder / name).stat().st_size


def build_milvus(
    name: str, vectors: np.ndarray, queries: np.ndarray, folder: Path
) -> tuple[Any, int]:
    """Returns a collection of Milvus Lite, and the bytes of its file."""
    from paddlevideo.retrieval.clip_keys import SIZE, ClipKeys
    from paddlevideo.retrieval.milvus_index import MilvusIndex

    keys = np.random.default_rng(1).integers(0, 256, (len(vectors), SIZE)).astype(np.uint8)
    place = folder / f"{name}.db"
    engine = MilvusIndex(place, ClipKeys(keys, {"path": str(folder)}, []), {})

    def batches(positions: np.ndarray) -> Iterator[np.ndarray]:
        for first in range(0, len(positions), BLOCK // 64):
            yield vectors[positions[first : first + BLOCK // 64]]

    how: Any = "approximate" if name == "milvus_graph" else "exact"
    engine.fill(batches, vectors.shape[1], how, lambda: queries[: len(queries) // 2])
    return engine, sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


def engine(options: argparse.Namespace) -> dict[str, Any]:
    """Measures one engine. Half of the queries may choose its settings, the others measure."""
    from paddlevideo.retrieval.nearest import recall

    folder = Path(options.folder)
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    queries = np.load(folder / "queries.npy")
    before, start = resident(), time.perf_counter()
    made, size = build(options.engine, vectors, queries, folder)
    seconds = time.perf_counter() - start
    asked = queries[len(queries) // 2 :]
    found = made.search(asked, max(DEPTHS))[0]
    truth = folder / "truth.npy"
    if options.engine == "numpy":
        np.save(truth, found)
    wanted = np.load(truth)
    singles = [asked[row : row + 1] for row in range(BATCH)]
    report = {
        "build_seconds": seconds,
        "bytes": size,
        "milliseconds": timed(lambda row: made.search(singles[row], max(DEPTHS)), BATCH),
        "milliseconds_in_batches": timed(lambda _: made.search(asked[:BATCH], max(DEPTHS)), 5)
        / BATCH,
        "memory_mb": (resident() - before) / 2**20,
    }
    for depth in DEPTHS:
        report[f"recall_at_{depth}"] = recall(found[:, :depth], wanted[:, :depth])
    return report


def timed(search: Callable[[int], Any], times: int) -> float:
    """Returns the median of the milliseconds of some searches, after one more."""
    search(0)
    seconds = []
    for number in range(times):
        start = time.perf_counter()
        search(number)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def measure(options: argparse.Namespace) -> None:
    """Prints what an engine reports, as the process of a side."""
    print(json.dumps(engine(options)), flush=True)
    os._exit(0)  # Milvus Lite's threads may take long to end


def show(report: dict[str, Any]) -> None:
    """Prints a line for each engine."""
    print(f"{report['clips']:,} vectors of {report['width']} numbers")
    for name, part in report["engines"].items():
        recalls = ", ".join(f"@{depth} {part[f'recall_at_{depth}']:.3f}" for depth in DEPTHS)
        print(
            f"{name:>12}: built in {part['build_seconds']:.1f} s, {part['bytes'] / 1e6:,.0f} MB on "
            f"the disk, {part['memory_mb']:,.0f} MB of memory; {part['milliseconds']:.2f} ms a "
            f"query, {part['milliseconds_in_batches']:.2f} ms in batches of {BATCH}; "
            f"recall {recalls}"
        )


if __name__ == "__main__":
    run_side(engine=measure)
