"""Testing: scores a split, prints a table, writes ``results.json``."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import paddlevideo
from paddlevideo.checkpoint import checksum
from paddlevideo.config import Config
from paddlevideo.modeling import build_model, load_weights
from paddlevideo.tasks.evaluate import evaluate
from paddlevideo.tasks.setup import Run, build_metric, start_run, test_loader
from paddlevideo.utils.errors import ConfigError, WeightsError
from paddlevideo.utils.files import write_whole

log = logging.getLogger("paddlevideo")


def test(config: Config, weights: str | None) -> dict[str, Any]:
    """Tests ``weights`` on DATASET.test and returns the results that it writes.

    ``<output folder>/results.json`` holds the metrics and the protocol under which they were
    measured; with ``score_matrix: True`` ``scores.npz`` holds the scores of every pair.
    Raises ConfigError without weights: numbers of an untrained model mislead.
    """
    if not weights:
        raise ConfigError("--test needs weights: main.py --test -c FILE -w WEIGHTS.pdparams")
    if not Path(weights).is_file():
        raise WeightsError(f"{weights}: no such weight file")
    run = start_run(config, "test")
    model = build_model(config.MODEL, pretrained=False)
    load_weights(model, weights, for_test=True)
    dataset, loader = test_loader(run, "test")
    metric = build_metric(run, dataset)
    start = time.perf_counter()
    results = evaluate(model, dataset, loader, metric, run.world)
    seconds = time.perf_counter() - start
    if not run.world.is_main:
        return {}
    if hasattr(metric, "chance"):
        results["chance"] = metric.chance(dataset.truth())
    results["protocol"] = {
        **dataset.describe(),
        **({"ties": metric.ties} if hasattr(metric, "ties") else {}),
        "weights": str(weights),
        "weights_sha256": checksum(weights),
        "device": run.device,
        "ranks": run.world.size,
        "threads": run.threads,
        "seconds": round(seconds, 3),
        "paddlevideo": paddlevideo.__version__,
    }
    write_results(run, results, metric, dataset)
    return results


def write_results(run: Run, results: Mapping[str, Any], metric: Any, dataset: Any) -> None:
    """Prints the table and writes the files."""
    path = run.folder / "results.json"
    text = json.dumps(results, indent=2) + "\n"
    write_whole(path, lambda partial: partial.write_text(text))
    print_table(results)
    log.info("wrote %s", path)
    if run.settings.score_matrix and hasattr(metric, "scores"):
        write_scores(run.folder / "scores.npz", metric, dataset)


def write_scores(path: Path, metric: Any, dataset: Any) -> None:
    """``scores`` (captions, videos) float32 margins, with names, for further analysis."""

    def write(partial: Path) -> None:
        with open(partial, "wb") as file:
            np.savez_compressed(
                file,
                scores=metric.scores(),
                captions=np.asarray(dataset.captions),
                video_ids=np.asarray(dataset.video_ids),
                truth=dataset.truth(),
            )

    write_whole(path, write)
    log.info("wrote %s", path)


def print_table(results: Mapping[str, Any]) -> None:
    """The metrics, one line a direction, with chance beside them where it is known."""
    from rich.console import Console
    from rich.table import Table

    for name, value in results.items():
        if isinstance(value, (int, float)):
            log.info("%s: %.5f", name, value)
    directions = {n: row for n, row in results.items() if n not in ("protocol", "chance")}
    rows = {n: row for n, row in directions.items() if isinstance(row, Mapping)}
    if not rows:
        return
    columns = list(next(iter(rows.values())))
    table = Table("", *columns)
    for name, row in rows.items():
        title = name.replace("_", " ")
        table.add_row(title, *(f"{row[column]:.2f}" for column in columns))
        if chance := results.get("chance", {}).get(name):
            table.add_row("  chance", *(f"{chance[column]:.2f}" for column in columns), style="dim")
    Console(width=max(Console().width, 80)).print(table)
