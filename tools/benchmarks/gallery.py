"""Retrieval tests and searches in galleries of up to a million clips: time, memory, recall.

For each size: makes a store of the clips in --from and of others that are drawn from them with
noise; tests the weights in it, with an exact and with an approximate first stage; and searches it
twice, the first time to write the index. Each step is a process of its own. --make only makes the
stores. R@k compares the two first stages with each other and says nothing about the model: it may
have learned these clips, and the right one is among clips drawn from it.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gallery_store import make_store, write_captions
from paddlevideo.retrieval.nearest import APPROXIMATE_FROM
from paddlevideo.utils.children import this_python
from paddlevideo.utils.errors import ConfigError, UserError
from paddlevideo.utils.options import as_path
from paddlevideo.utils.ranges import count, count_or_zero, positive

SIZES = [10_000, 100_000, 1_000_000]
LOOK = 0.05  # seconds between two looks at the memory of a process
SENTENCE = "a green triangle shrinks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``benchmark.py gallery``."""
    add = parser.add_argument
    add("--from", dest="source", type=as_path, required=True, metavar="STORE", help="real clips")
    add("-w", "--weights", type=as_path, metavar="FILE", help="they need a retrieval head")
    add("--clips", type=count, nargs="+", default=SIZES, help="default: 10000 100000 1000000")
    add("--make", action="store_true", help="only make the stores and their captions")
    add("--folder", type=as_path, default=Path("build/gallery"), help="for all that is written")
    add("--captions", type=count, default=300, help="queries of a test (default 300)")
    add("--noise", type=positive, default=0.5, help="in standard deviations (default 0.5)")
    add("--seed", type=count_or_zero, default=0, help="of draws and noise (default 0)")
    add("--top_k", type=count, default=64, help="candidates of a caption (default 64)")
    add("--gigabytes", type=positive, default=1.0, help="for encoded clips (default 1)")


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measures each size, and prints it when it is known."""
    if not (options.make or options.weights):
        raise ConfigError("name weights with -w, or only make the stores with --make")
    reports = []
    for clips in options.clips:
        reports.append(measure(options, clips))
        print(json.dumps(reports[-1]), flush=True)
    return reports


def measure(options: argparse.Namespace, clips: int) -> dict[str, Any]:
    """Returns the numbers of a gallery of ``clips`` clips."""
    folder = options.folder / str(clips)
    store, captions = folder / "clips.store", folder / "captions.csv"
    start = time.perf_counter()
    make_store(options.source, store, clips, options.noise, options.seed)
    report: dict[str, Any] = {"clips": clips, "make_seconds": time.perf_counter() - start}
    report["store_gb"] = bytes_in(store) / 1e9
    write_captions(store, captions, options.captions)
    if options.make:
        return report
    stages = ("exact", "approximate") if clips >= APPROXIMATE_FROM else ("exact",)
    for how in stages:
        report[how] = tested(options, folder / how, store, captions, how)
    shutil.rmtree(folder / "index", ignore_errors=True)
    search = ["search", "-w", options.weights, "--features", store, "--index", folder / "index"]
    search += ["--json", "--candidates", options.top_k, SENTENCE]
    for name in ("first_search", "later_search"):
        report[name] = measured(search)
    report["index_gb"] = bytes_in(folder / "index") / 1e9
    return report


def tested(
    options: argparse.Namespace, output: Path, store: Path, captions: Path, how: str
) -> dict[str, Any]:
    """Returns what a test costs, and its recall."""
    changes = {
        "DATASET.test.file_path": captions,
        "DATASET.test.features_path": store,
        "DATASET.test.gallery": "all",
        "DATASET.test.gallery_batch": 256,
        "MODEL.top_k": f"[{options.top_k},{options.top_k}]",
        "MODEL.gallery_gigabytes": options.gigabytes,
        "MODEL.retrieval_head.first_stage": how,
        "output_dir": output,
    }
    overrides = [f"{key}={value}" for key, value in changes.items()]
    cost = measured(["test", "-w", options.weights, "-o", *overrides])
    results = json.loads((output / "results.json").read_text())
    recall = {name: results[name]["R@10"] for name in ("text_to_video", "video_to_text")}
    found = results.get("search_recall", {})
    return {**cost, **results["stages"], "R@10": recall, "search_recall": found}


def measured(arguments: Sequence[object]) -> dict[str, float]:
    """Runs a command of the package; returns its seconds and its peak of private memory.

    The pages of a store that LMDB maps are the system's cache, and do not count. Raises UserError
    with the end of the command's output if it fails.
    """
    words = [*this_python("from paddlevideo.cli import main; sys.exit(main())")]
    start, peak = time.perf_counter(), 0
    with subprocess.Popen(
        [*words, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        while process.poll() is None:
            peak = max(peak, private_bytes(process.pid))
            time.sleep(LOOK)
        seconds, errors = time.perf_counter() - start, process.stderr.read()
    if process.returncode:
        raise UserError(f"{' '.join(map(str, arguments))} failed: {errors[-2000:]}")
    return {"seconds": seconds, "peak_gb": peak / 1e9}


def private_bytes(process: int) -> int:
    """Returns the private memory of a process in bytes; 0 once it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    return 1024 * int(found[1]) if found else 0


def bytes_in(folder: Path) -> int:
    """Returns the size of the files in a folder and its subfolders."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# ------------------------------------------------------------------------------ the table

ROWS: list[tuple[str, Sequence[str], str]] = [
    ("make the store, s", ["make_seconds"], ".0f"),
    ("store, GB", ["store_gb"], ".2f"),
    ("encode the gallery, s", ["exact", "gallery_seconds"], ".0f"),
    ("exact first stage, s", ["exact", "first_stage_seconds"], ".1f"),
    ("approximate first stage, s", ["approximate", "first_stage_seconds"], ".1f"),
    ("it finds, %", ["approximate", "search_recall", "percent"], ".1f"),
    ("match the candidates, s", ["exact", "scoring_seconds"], ".0f"),
    ("pairs matched", ["exact", "pairs_scored"], ",.0f"),
    ("R@10, exact", ["exact", "R@10", "text_to_video"], ".1f"),
    ("R@10, approximate", ["approximate", "R@10", "text_to_video"], ".1f"),
    ("peak of the test, exact, GB", ["exact", "peak_gb"], ".2f"),
    ("peak of the test, approximate, GB", ["approximate", "peak_gb"], ".2f"),
    ("first search, s", ["first_search", "seconds"], ".0f"),
    ("later search in a new process, s", ["later_search", "seconds"], ".1f"),
    ("peak of the first search, GB", ["first_search", "peak_gb"], ".2f"),
    ("peak of a later search, GB", ["later_search", "peak_gb"], ".2f"),
    ("index, GB", ["index_gb"], ".2f"),
]


def show(report: Sequence[Mapping[str, Any]]) -> None:
    """Prints a column for each size."""
    print(f"{'clips':36}" + "".join(f"{part['clips']:>12,}" for part in report))
    for title, keys, form in ROWS:
        values = [lookup(part, keys) for part in report]
        if any(value is not None for value in values):
            cells = ("-" if value is None else format(value, form) for value in values)
            print(f"{title:36}" + "".join(f"{cell:>12}" for cell in cells))


def lookup(part: Any, keys: Sequence[str]) -> float | None:
    """Returns a number of nested reports; None if it was not measured."""
    for key in keys:
        part = part.get(key) if isinstance(part, Mapping) else None
    return part
