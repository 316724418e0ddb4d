"""The commands that ``tests/test_soak_kills.py`` kills."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass
class Case:
    """A command. ``words``: what it is given, with the folder to write into."""

    words: Callable[[Path, Path], list[str]]
    #: Its share of all kills.
    weight: float = 1.0
    #: What is there before, made by the command itself with other arguments.
    before: Callable[[Path, Path], list[str]] | None = None
    #: What a killed process may leave complete: running it again is refused, and rightly.
    is_done: Callable[[Path], bool] = lambda folder: False
    #: Files that are whole, the old or the new ones, at all times.
    kept: Sequence[str] = ()


def tool(name: str, *words: str) -> list[str]:
    return [str(ROOT / "tools" / f"{name}.py"), *words]


def command_of_a_test(base: Path, out: Path, *more: str) -> list[str]:
    weights = str(base / "output" / "Tiny_epoch_00001.pdparams")
    changes = ["-o", f"output_dir={out / 'o'}", "num_threads=1", "score_matrix=true", *more]
    config = ["-c", str(base / "tiny.yaml"), "-w", weights]
    return [str(ROOT / "main.py"), "--test", *config, *changes]


def export(base: Path, out: Path, *more: str) -> list[str]:
    weights = str(base / "output" / "Tiny_epoch_00001.pdparams")
    words = ["-c", str(base / "tiny.yaml"), "-w", weights, "--output", str(out / "e")]
    return tool("export_model", *words, *more)


CASES = {
    "pack rows": Case(
        lambda b, o: tool(
            *("prepare_data", "pack", f"{b}/train.npy", "--output", f"{o}/s"),
            *("--shard_gigabytes", "0.00002"),
        ),
        weight=3,
    ),
    "pack records": Case(
        lambda b, o: tool(
            *("prepare_data", "pack", f"{b}/test.lmdb", "--captions", f"{b}/test.csv"),
            *("--output", f"{o}/s"),
        )
    ),
    "validate": Case(
        lambda b, o: tool(
            "prepare_data", "validate", f"{b}/s", "--json", f"{o}/f.jsonl", "--fix", f"{o}/t"
        )
    ),
    "convert to rows": Case(
        lambda b, o: tool(
            "prepare_data", "convert", f"{b}/s", "--to", "npy", "--output", f"{o}/rows.npy"
        ),
        is_done=lambda o: (o / "rows.npy").exists(),
    ),
    "convert to records": Case(
        lambda b, o: tool(
            "prepare_data", "convert", f"{b}/s", "--to", "lmdb", "--output", f"{o}/r.lmdb"
        ),
        weight=2,
        is_done=lambda o: (o / "r.lmdb").exists() and (o / "r.csv").exists(),
    ),
    "convert to a store": Case(
        lambda b, o: tool(
            *("prepare_data", "convert", f"{b}/s", "--to", "store", "--shards", "3"),
            *("--output", f"{o}/s"),
        )
    ),
    "extract": Case(
        lambda b, o: tool(
            *("extract_features", f"{b}/demo/videos", "--output", f"{o}/x.store"),
            *("--threads", "1"),
        ),
        weight=2,
    ),
    "demo data": Case(
        lambda b, o: tool(
            *("make_demo_data", "--output", f"{o}/demo", "--train", "4", "--valid", "1"),
            *("--test", "2", "--workers", "2"),
        ),
        before=lambda b, o: tool(
            *("make_demo_data", "--output", f"{o}/demo", "--train", "2", "--valid", "1"),
            *("--test", "1", "--workers", "1"),
        ),
        kept=["demo/demo.json"],
    ),
    "compare": Case(
        lambda b, o: tool(
            *("compare_runs", f"{b}/o/queries.jsonl", "--with", f"{b}/o/queries.jsonl"),
            *("--samples", "10", "--json", f"{o}/c.json"),
        )
    ),
    "report": Case(
        lambda b, o: tool("report", "--results", f"{b}/o", "--output", f"{o}/r.html"),
        before=lambda b, o: tool(
            "report", "--results", f"{b}/o", "--output", f"{o}/r.html", "--shown", "1"
        ),
        kept=["r.html"],
    ),
    "test": Case(
        lambda b, o: command_of_a_test(b, o),
        weight=0.5,
        before=lambda b, o: command_of_a_test(b, o, "METRIC.dual_softmax=true"),
    ),
    "search": Case(
        lambda b, o: tool(
            *("search", "-w", f"{b}/output/Tiny_epoch_00001.pdparams", "-c", f"{b}/tiny.yaml"),
            *("--features", f"{b}/test.lmdb", "--index", f"{o}/i", "a dog"),
        ),
        weight=0.5,
    ),
    "export": Case(export, weight=0.4, before=export, kept=["e/export.json", "e/pairs.pdiparams"]),
}
