"""Testing: scores a split, prints a table, writes ``results.json`` and what each query found."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import paddlevideo
from paddlevideo.checkpoint import checksum
from paddlevideo.config import Config
from paddlevideo.loader.dataset.base import Dataset
from paddlevideo.modeling import build_model, load_weights, locate_weights
from paddlevideo.runtime import Amp
from paddlevideo.tasks.answers import queries_of
from paddlevideo.tasks.evaluate import evaluate
from paddlevideo.tasks.saved_rows import SavedRows
from paddlevideo.tasks.setup import Run, build_metric, check_sizes, start_run, test_loader
from paddlevideo.tasks.tables import print_results
from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.files import write_whole

log = logging.getLogger("paddlevideo")


def test(
    config: Config,
    weights: str | None,
    report: str | None = None,
    videos: str | None = None,
) -> dict[str, Any]:
    """Tests ``weights`` on DATASET.test and returns the results that it writes.

    ``<output folder>/results.json`` holds the metrics and the protocol under which they were
    measured, ``queries.jsonl`` each query's rank and best answers; with ``score_matrix: True``
    ``scores.npz`` holds the scores of every pair. ``report``: where to write a page of it all,
    with thumbnails from the folder ``videos``. With ``resume: auto`` a test that was interrupted
    goes on from the rows it has. Raises ConfigError without weights: numbers of an untrained
    model mislead.
    """
    if not weights:
        raise ConfigError("--test needs weights: main.py --test -c FILE -w WEIGHTS.pdparams")
    given, weights = weights, str(locate_weights(weights))
    if videos and not Path(videos).is_dir():
        raise ConfigError(f"--videos: there is no folder {videos}")
    run = start_run(config, "test")
    model = build_model(config.MODEL, blank=True)
    load_weights(model, given, for_test=True)
    dataset, loader = test_loader(run, "test")
    check_sizes(model, test=loader)
    metric = build_metric(run, dataset)
    amp = Amp(run.settings.amp, run.device)
    what = {
        "weights": str(weights),
        "weights_sha256": checksum(weights),
        "mixed_precision": amp.enabled,
        "paddlevideo": paddlevideo.__version__,
    }
    with SavedRows(run.folder, test_key(run, what), run.world, resumes(run)) as saved:
        results = evaluate(model, dataset, loader, metric, run.world, amp, saved)
        if run.world.is_main:
            results |= surroundings(run, dataset, metric, what)
            write_results(run, results, metric, dataset, report, videos)
        saved.discard()
    return results


def resumes(run: Run) -> bool:
    """Whether rows of an interrupted test are wanted."""
    return run.settings.resume == "auto"


def test_key(run: Run, what: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a test's rows: with all of it equal they are equal too."""
    config = run.config.to_dict()
    return {
        **{name: value for name, value in what.items() if name != "weights"},
        "MODEL": config["MODEL"],
        "DATASET": (config.get("DATASET") or {}).get("test"),
        "PIPELINE": (config.get("PIPELINE") or {}).get("test"),
    }


def surroundings(
    run: Run, dataset: Dataset, metric: Any, what: Mapping[str, Any]
) -> dict[str, Any]:
    """What stands beside the numbers: chance, and the protocol."""
    chance = {"chance": metric.chance(dataset.truth())} if hasattr(metric, "chance") else {}
    protocol = {
        **dataset.describe(),
        **({"ties": metric.ties} if hasattr(metric, "ties") else {}),
        **what,
        "device": run.device,
        "ranks": run.world.size,
        "threads": run.threads,
    }
    return {**chance, "protocol": protocol}


def write_results(
    run: Run,
    results: dict[str, Any],
    metric: Any,
    dataset: Any,
    report: str | None = None,
    videos: str | None = None,
) -> None:
    """Prints the table and writes the files."""
    if hasattr(metric, "pairs"):
        results["stages"]["pairs_scored"] = metric.pairs
    results["protocol"]["seconds"] = round(
        sum(value for key, value in results["stages"].items() if key.endswith("_seconds")), 3
    )
    path = run.folder / "results.json"
    text = json.dumps(results, indent=2) + "\n"
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))
    print_results(results)
    log.info("wrote %s", path)
    queries = queries_of(metric, dataset)
    if queries is not None:
        write_queries_and_page(run.folder, results, queries, report, videos)
    if run.settings.score_matrix and hasattr(metric, "scores"):
        write_scores(run.folder / "scores.npz", metric, dataset)


def write_queries_and_page(
    folder: Path,
    results: Mapping[str, Any],
    queries: Any,
    report: str | None,
    videos: str | None,
) -> None:
    """``queries.jsonl`` and, on request, the page."""
    from paddlevideo.report import write_queries, write_report

    write_queries(folder / "queries.jsonl", queries)
    log.info("wrote %s", folder / "queries.jsonl")
    if report:
        write_report(Path(report), results, queries, Path(videos) if videos else None)
        log.info("wrote %s", report)


def write_scores(path: Path, metric: Any, dataset: Any) -> None:
    """``scores`` (captions, videos) float32, by which they were ranked, with names."""
    truth = dataset.truth()
    ranking = metric.ranking(truth)
    if not hasattr(ranking, "scores"):
        log.warning("score_matrix: with MODEL.top_k only some pairs are scored: see queries.jsonl")
        return

    def write(partial: Path) -> None:
        with open(partial, "wb") as file:
            np.savez_compressed(
                file,
                scores=ranking.scores(metric.weight(ranking)),
                captions=np.asarray(dataset.captions),
                video_ids=np.asarray(dataset.video_ids),
                truth=truth,
            )

    write_whole(path, write)
    log.info("wrote %s", path)
