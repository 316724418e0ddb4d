"""Testing: evaluates a split, prints and writes the results and the metric's files."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import paddlevideo
from paddlevideo.config import Config, with_data
from paddlevideo.files.fingerprint import fingerprints_of, unchanged
from paddlevideo.files.whole import read_json, write_together
from paddlevideo.files.writable import check_file
from paddlevideo.loader.dataset.base import Dataset
from paddlevideo.loader.store.split import split_path
from paddlevideo.metrics.base import Metric
from paddlevideo.modeling import build_model, load_weights, locate_weights
from paddlevideo.runtime import Amp
from paddlevideo.tasks.evaluate import evaluate
from paddlevideo.tasks.run_folder import CONFIG, CURVES, EXTRACTION, LOG, RECORD, SKIPPED
from paddlevideo.tasks.saved_rows import SavedRows
from paddlevideo.tasks.setup import (
    Run,
    begin,
    build_metric,
    check_sizes,
    start_run,
    test_loader,
)
from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.log import log_json

log = logging.getLogger("paddlevideo")

#: A metric may write a file for each of thousands of videos: the log names the first ones.
LISTED = 8
#: Names in an output folder that a metric's files cannot have.
RUN_FILES = {
    *("results.json", "test_config.yaml", "test_rows", "tensorboard", "visualdl"),
    *(RECORD, LOG, CONFIG, EXTRACTION, SKIPPED, *CURVES),
}


def test(
    config: Config,
    weights: str | None,
    report: str | None = None,
    videos: str | None = None,
) -> dict[str, Any]:
    """Tests ``weights`` on DATASET.test, writes the results and returns them.

    ``<output folder>/results.json`` holds the numbers and the protocol under which they were
    measured; the metric may write further files beside it. With ``resume: auto`` an interrupted
    test continues from the saved predictions. ``report``: where to write a page of the results,
    with pictures from the folder ``videos``. Raises ConfigError without weights: results of an
    untrained model would mislead.
    """
    if not weights:
        raise ConfigError("--test needs weights: main.py --test -c FILE -w WEIGHTS.pdparams")
    check_file(report, "--report")
    if videos and not Path(videos).is_dir():
        raise ConfigError(f"--videos: there is no folder {videos}")
    run = start_run(config, "test")
    with run.lock:
        located = run.world.together(lambda: locate_weights(weights))
        return test_in(run, str(located), report, videos)


def test_in(run: Run, weights: str, report: str | None, videos: str | None) -> dict[str, Any]:
    """Runs the test in the folder that ``run`` has locked."""
    model = build_model(run.config.MODEL, blank=True)
    with unchanged(weights) as sha256:
        load_weights(model, weights, for_test=True)
    dataset, loader = test_loader(run, "test")
    check_sizes(model, test=loader)
    metric = build_metric(run, dataset)
    for warning in metric.warnings(model, run.settings.score_matrix):
        log.warning("%s", warning)
    amp = Amp(run.settings.amp, run.device)
    tested = {
        "weights": str(weights),
        "weights_sha256": sha256,
        "mixed_precision": amp.enabled,
        "paddlevideo": paddlevideo.__version__,
    }
    begin(run)
    with SavedRows(run.folder, test_key(run, tested), run.world, resumes(run)) as saved:
        results = evaluate(model, dataset, loader, metric, run.world, amp, saved)
        if run.world.is_main:
            results["protocol"] = protocol_of(run, dataset, metric, tested, results["stages"])
            write_results(run, results, metric, dataset, report, videos)
        saved.discard()
    return results


def resumes(run: Run) -> bool:
    """Returns whether to continue from the predictions of an interrupted test."""
    return run.settings.resume == "auto"


def test_key(run: Run, tested: Mapping[str, Any]) -> dict[str, Any]:
    """Returns everything that determines a test's predictions."""
    config = with_data(run.config).to_dict()
    section = (config.get("DATASET") or {}).get("test") or {}
    sections = {"DATASET": section, "PIPELINE": (config.get("PIPELINE") or {}).get("test")}
    splits = [str(split_path(section[key])) for key in ("file_path",) if section.get(key)]
    return {
        **{name: value for name, value in tested.items() if name != "weights"},
        "MODEL": config["MODEL"],
        **sections,
        "inputs": fingerprints_of([sections, splits]),
    }


def protocol_of(
    run: Run,
    dataset: Dataset,
    metric: Metric,
    tested: Mapping[str, Any],
    stages: Mapping[str, float],
) -> dict[str, Any]:
    """Returns what is needed to compare the numbers: data, rules, weights and machine."""
    seconds = sum(value for name, value in stages.items() if name.endswith("_seconds"))
    return {
        **dataset.describe(),
        **metric.protocol(),
        **tested,
        "device": run.device,
        "ranks": run.world.size,
        "threads": run.threads,
        "seconds": round(seconds, 3),
    }


def check_names(metric: str, names: Iterable[str], model_name: str) -> None:
    """Raises ConfigError if a name cannot be one of a metric in the output folder."""
    for name in names:
        is_plain = name == Path(name).name and name[:1] not in {"", "."}
        is_checkpoint = name.endswith((".pdparams", ".pdopt")) or (
            name.startswith(f"{model_name}_") and name.endswith(".json")
        )
        if not is_plain or is_checkpoint or name in RUN_FILES:
            raise ConfigError(
                f'METRIC.name: {metric}.files gives the name "{name}". Expected the name of a '
                "file in the output folder, without a folder, that no run writes. With another "
                "name, --resume auto continues from the predictions, which are kept"
            )


def write_results(
    run: Run,
    results: dict[str, Any],
    metric: Metric,
    dataset: Dataset,
    report: str | None = None,
    videos: str | None = None,
) -> None:
    """Prints the results, and writes them with the metric's files and page.

    In JSON they are one line, with what ``results.json`` holds.
    """
    answers = metric.answers(dataset)
    files = metric.files(dataset, answers, run.settings.score_matrix)
    check_names(metric.name, files, run.settings.model_name)
    write_together(run.folder / "results.json", results, files)
    metric.show(results)
    title = f"results of {results['protocol']['weights']}"
    log_json("results", title, results=read_json(run.folder / "results.json"))
    for name in ("results.json", *list(files)[:LISTED]):
        log.info("wrote %s", run.folder / name)
    if len(files) > LISTED:
        log.info("wrote %d more files in %s", len(files) - LISTED, run.folder)
    if report:
        metric.write_page(Path(report), results, answers, Path(videos) if videos else None)
