"""Testing: scores a split, prints a table, writes ``results.json`` and what each query found."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import paddlevideo
from paddlevideo.config import Config
from paddlevideo.files.fingerprint import fingerprints_of, unchanged
from paddlevideo.files.whole import write_together
from paddlevideo.files.writable import check_file
from paddlevideo.loader.dataset.base import Dataset
from paddlevideo.modeling import build_model, load_weights, locate_weights
from paddlevideo.prepare.origins import ClipNotes
from paddlevideo.runtime import Amp
from paddlevideo.tasks.answers import queries_of
from paddlevideo.tasks.evaluate import evaluate
from paddlevideo.tasks.saved_rows import SavedRows
from paddlevideo.tasks.setup import (
    Run,
    begin,
    build_metric,
    check_sizes,
    start_run,
    test_loader,
)
from paddlevideo.tasks.tables import print_results
from paddlevideo.utils.errors import ConfigError

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
    weights = str(locate_weights(weights))
    check_file(report, "--report")
    if videos and not Path(videos).is_dir():
        raise ConfigError(f"--videos: there is no folder {videos}")
    run = start_run(config, "test")
    with run.lock:
        return test_in(run, weights, report, videos)


def test_in(run: Run, weights: str, report: str | None, videos: str | None) -> dict[str, Any]:
    """The test, once its folder is taken."""
    model = build_model(run.config.MODEL, blank=True)
    with unchanged(weights) as sha256:
        load_weights(model, weights, for_test=True)
    dataset, loader = test_loader(run, "test")
    check_sizes(model, test=loader)
    metric = build_metric(run, dataset)
    warn_of_missing_scores(run, metric)
    amp = Amp(run.settings.amp, run.device)
    what = {
        "weights": str(weights),
        "weights_sha256": sha256,
        "mixed_precision": amp.enabled,
        "paddlevideo": paddlevideo.__version__,
    }
    begin(run)
    with SavedRows(run.folder, test_key(run, what), run.world, resumes(run)) as saved:
        results = evaluate(model, dataset, loader, metric, run.world, amp, saved)
        if run.world.is_main:
            results |= surroundings(run, dataset, metric, what)
            write_results(run, results, metric, dataset, report, videos)
        saved.discard()
    return results


def warn_of_missing_scores(run: Run, metric: Any) -> None:
    """Warns before the work begins if ``score_matrix`` cannot be written."""
    if not run.settings.score_matrix:
        return
    if not hasattr(metric, "scores"):
        log.warning("score_matrix: %s has no scores of pairs to write", type(metric).__name__)
    elif run.config.MODEL.get("top_k"):
        log.warning(
            "score_matrix: with MODEL.top_k only some pairs are scored, so no scores.npz is "
            "written unless all of them are: see queries.jsonl"
        )


def resumes(run: Run) -> bool:
    """Whether rows of an interrupted test are wanted."""
    return run.settings.resume == "auto"


def test_key(run: Run, what: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a test's rows: with all of it equal they are equal too."""
    config = run.config.to_dict()
    sections = {
        "DATASET": (config.get("DATASET") or {}).get("test"),
        "PIPELINE": (config.get("PIPELINE") or {}).get("test"),
    }
    return {
        **{name: value for name, value in what.items() if name != "weights"},
        "MODEL": config["MODEL"],
        **sections,
        "inputs": fingerprints_of(sections),
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
    queries = queries_of(metric, dataset)
    parts = files_beside(run, metric, dataset, queries)
    write_together(run.folder / "results.json", results, parts)
    print_results(results)
    for name in ("results.json", *parts):
        log.info("wrote %s", run.folder / name)
    if report and queries is not None:
        write_page(Path(report), results, queries, Path(videos) if videos else None)
        log.info("wrote %s", report)


def write_page(path: Path, results: Mapping[str, Any], queries: Any, videos: Path | None) -> None:
    """The page of a test; what has no picture on it is told."""
    from paddlevideo.report import write_report

    notes = ClipNotes(results["protocol"].get("features"))
    for line in write_report(path, results, queries, videos, origin_of=notes.origin):
        log.warning("%s", line)


def files_beside(
    run: Run, metric: Any, dataset: Any, queries: Any
) -> dict[str, Callable[[Path], object]]:
    """What writes the files that belong to ``results.json``, by name."""
    from paddlevideo.report.queries import queries_text

    parts: dict[str, Callable[[Path], object]] = {}
    if queries is not None:
        text = queries_text(queries)
        parts["queries.jsonl"] = lambda path: path.write_text(text, encoding="utf-8")
    if run.settings.score_matrix and hasattr(metric, "scores"):
        arrays = score_arrays(metric, dataset)
        if arrays is not None:  # else there was a warning at the start
            parts["scores.npz"] = partial(write_arrays, arrays)
    return parts


def score_arrays(metric: Any, dataset: Any) -> dict[str, np.ndarray] | None:
    """``scores`` (captions, videos) float32, by which they were ranked, with names; or None."""
    truth = dataset.truth()
    ranking = metric.ranking(truth)
    if not hasattr(ranking, "scores"):
        return None
    return {
        "scores": ranking.scores(metric.weight(ranking)),
        "captions": np.asarray(dataset.captions),
        "video_ids": np.asarray(dataset.video_ids),
        "truth": truth,
    }


def write_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes an .npz under any name."""
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
