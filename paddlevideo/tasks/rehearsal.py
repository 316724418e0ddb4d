"""A validation is tried on a few samples before the long work begins."""

from __future__ import annotations

import traceback
from typing import Any

import paddle

from paddlevideo.loader.build import BatchLoader
from paddlevideo.loader.dataset.base import Dataset
from paddlevideo.loader.sampler import GridSampler
from paddlevideo.metrics.base import EvaluationData, Metric
from paddlevideo.modeling import BaseFramework
from paddlevideo.runtime import Amp
from paddlevideo.tasks.setup import Run, build_metric, lookup
from paddlevideo.utils.errors import ConfigError, DataError, UserError

#: Samples, and entries of the data set's context: at full size about a second on two cores. More
#: entries than are usually chosen from it for a sample, so that choosing is tried too.
SAMPLES, ENTRIES = 4, 12


@paddle.no_grad()
def rehearse(
    run: Run, split: str, model: BaseFramework, dataset: Dataset, loader: BatchLoader, amp: Amp
) -> None:
    """Reads, predicts and scores the first samples of ``split``; all ranks do the same.

    It uses its own metric and no randomness, and leaves the model as it was. A metric that needs
    more than a few samples may fail on them; only what is certainly wrong ends the run.

    Raises ConfigError, DataError or WeightsError, as the validation or the test would.
    """
    metric = build_metric(run, dataset)
    count = min(len(dataset), loader.sampler.batch_size, SAMPLES)
    training = model.training
    model.eval()
    try:
        few = loader.with_sampler(GridSampler(count, count))
        data = EvaluationData(
            first_entries(dataset), few, lambda state: [state], metric.start, split == "valid"
        )
        with amp.autocast():
            predict_and_collect(model, metric, data)
    except DataError as error:
        raise DataError(f"DATASET.{split}: {error}{_advice(run, split, dataset)}") from error
    except UserError:
        raise
    except Exception as error:
        parts = f"{type(model).__name__} and {metric.name}"
        line = traceback.extract_tb(error.__traceback__)[-1]  # not one of our errors
        raise ConfigError(
            f"DATASET.{split}: {parts} cannot score its first samples: "
            f"{type(error).__name__}: {error} ({line.filename}:"
            f"{line.lineno} in {line.name}). Check its format, PIPELINE.{split} and METRIC"
            f"{_advice(run, split, dataset)}"
        ) from error
    finally:
        if training:
            model.train()
    if split == "valid":
        check_best(metric, dataset.truth(), len(dataset), count)


def predict_and_collect(model: BaseFramework, metric: Metric, data: EvaluationData) -> None:
    """Does with one batch what ``tasks.evaluate`` does with all of them."""
    predictor = metric.predictor(model, data)
    for batch in predictor.batches(data.loader):
        metric.update(batch["index"], predictor.predict(batch))


def first_entries(dataset: Dataset) -> list[dict[str, Any]] | None:
    """Returns the first few entries of the context as its only batch, or None without a context."""
    context = dataset.context()
    if context is None:
        return None
    first = next(iter(context))
    return [{key: rows[:ENTRIES] for key, rows in first.items()}]


def check_best(metric: Metric, truth: Any, size: int, count: int) -> None:
    """Raises ConfigError unless the metric gives the number that ``METRIC.best`` names."""
    if hasattr(truth, "__len__") and len(truth) == size:
        truth = truth[:count]
    try:
        results = metric.result(truth)
    except ConfigError:
        raise
    except Exception:
        return  # it may need all samples: then the validation will tell
    lookup(results, metric.best)


def _advice(run: Run, split: str, dataset: Dataset) -> str:
    """Says what may be missing if no pipeline step precedes the model."""
    if dataset.context() is not None or (run.config.get("PIPELINE") or {}).get(split):
        return ""
    return (
        f". There is no PIPELINE.{split}: this data set may need the steps of PIPELINE.train, "
        "without those that are random"
    )
