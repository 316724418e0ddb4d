"""What training and testing share: the run's surroundings, its model and its data."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

from paddlevideo.checkpoint import Checkpoints
from paddlevideo.config import Config, RunSettings, check_config, dump_config, run_settings
from paddlevideo.config.check import Mode
from paddlevideo.config.settings import dataset_settings
from paddlevideo.files.lock import FolderLock
from paddlevideo.files.whole import write_text_whole
from paddlevideo.loader.build import (
    BatchLoader,
    SampleReader,
    build_dataset,
    build_pipeline,
    start_warnings,
)
from paddlevideo.loader.dataset.base import Dataset
from paddlevideo.loader.order import (
    WINDOW,
    InOrder,
    Order,
    Shuffled,
    ShuffledBlocks,
    SimilarLengths,
)
from paddlevideo.loader.sampler import GridSampler, TrainSampler
from paddlevideo.loader.skipping import BadClips
from paddlevideo.metrics.base import Metric, PlainMetric
from paddlevideo.modeling import BaseFramework
from paddlevideo.registry import METRICS, did_you_mean
from paddlevideo.runtime import World, seed_everything, select_device, use_threads
from paddlevideo.tasks.boards import visualdl_log_writer
from paddlevideo.tasks.run_folder import CONFIG, LOG, SKIPPED, begin_in, take_folder
from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.log import log_to, set_up_logging

log = logging.getLogger("paddlevideo")


@dataclass(frozen=True)
class Run:
    """Where and how a task runs. ``lock``: on the folder; ``identity``: of a training run."""

    config: Config
    settings: RunSettings
    world: World
    device: str
    threads: int
    folder: Path
    lock: FolderLock
    identity: str = ""


def start_run(
    config: Config,
    mode: Mode,
    validate: bool = False,
    fleet: bool = False,
    folder: Path | None = None,
    weights: str | None = None,
) -> Run:
    """Checks the configuration, then chooses device, threads, ranks and output folder.

    ``validate``, ``fleet`` and ``weights`` set the settings of these names. The folder,
    ``output_dir`` if it is not given, is locked; nothing is written to it before :func:`begin`.
    Raises ConfigError with every fault that was found, and where another run has the folder.
    """
    config = config.copy()
    asked = {"validate": validate, "fleet": fleet, "weights": weights}
    config.update({key: value for key, value in asked.items() if value})
    warnings = check_config(config, mode)
    settings = run_settings(config)
    device = select_device(settings.device)
    threads = use_threads(settings.num_threads)
    trains = mode == "train"
    world = World(trains and settings.fleet, settings.sharding if trains else 0)
    set_up_logging(settings.log_level, silent=not world.is_main)
    folder = folder or Path(settings.output_dir)
    lock = FolderLock(folder, mode, "output_dir (-o output_dir=FOLDER)")
    identity = world.decide(lambda: take_folder(lock, settings, config if trains else None))
    for warning in warnings:
        log.warning("%s", warning)
    log.info("configuration:\n%s", dump_config(config).rstrip())
    log.info("%s, %d rank(s), %d thread(s) each, output in %s", device, world.size, threads, folder)
    seed_everything(settings.seed)
    return Run(config, settings, world, device, threads, folder, lock, identity)


def begin(run: Run, is_new: bool = True) -> None:
    """From here on the run writes to its folder; what could refuse it has been tried.

    ``is_new``: it starts with its first step. Writes what repeats the run to ``config.yaml``.
    """
    if run.settings.visualdl and run.identity:
        visualdl_log_writer()
    if run.world.is_main:
        if run.identity:
            begin_in(run.folder, run.settings, run.identity, is_new)
        log_to(run.folder / LOG)
        once = ("resume", "resume_epoch", "force", "overwrite")  # said of one start of the run
        kept = Config({key: value for key, value in run.config.items() if key not in once})
        text = dump_config(kept)
        name = CONFIG if run.identity else "test_config.yaml"
        write_text_whole(run.folder / name, text)
    run.world.meet()


def checkpoints_of(run: Run) -> Checkpoints:
    """The run's own, in its folder."""
    return Checkpoints(run.folder, run.settings.model_name, run.settings.keep, run.identity)


def open_split(run: Run, split: str) -> tuple[Dataset, list[Any]]:
    """The dataset and the pipeline steps of ``train``, ``valid`` or ``test``."""
    pipeline = (run.config.get("PIPELINE") or {}).get(split) or {}
    dataset = build_dataset(run.config.DATASET[split])
    steps = build_pipeline(pipeline.get("transform"))
    for warning in start_warnings(dataset, steps) if run.world.is_main else ():
        log.warning("DATASET.%s: %s", split, warning)
    return dataset, steps


def split_setting(run: Run, split: str, key: str) -> int:
    """Returns ``<split>_<key>`` of the DATASET section, or its ``key``."""
    name = key if split == "train" else f"{split}_{key}"
    return int(getattr(dataset_settings(run.config), name))


def train_loader(run: Run) -> BatchLoader:
    """Shuffled batches of this rank."""
    dataset, steps = open_split(run, "train")
    dataset = dataset.for_training()
    section, world = run.config.DATASET, run.world
    sampler = TrainSampler(
        len(dataset),
        section.get("batch_size", 8),
        world.rank,
        world.size,
        train_order(run, dataset),
        section.get("drop_last", True),
    )
    reader = SampleReader(dataset, steps, run.settings.seed, bad_clips(run, len(dataset)))
    return BatchLoader(reader, sampler, split_setting(run, "train", "num_workers"))


def fitting_loader(run: Run, reader: SampleReader, samples: int) -> BatchLoader:
    """This rank's share of about ``samples`` of a training reader's samples, as they are."""
    size, world = run.config.DATASET.get("batch_size", 8), run.world
    sampler = GridSampler(len(reader.dataset), size, world.rank, world.size).subsampled(samples)
    workers = split_setting(run, "train", "num_workers")
    return BatchLoader(reader.without_augmentation(), sampler, workers)


def bad_clips(run: Run, clips: int) -> BadClips | None:
    """The list of training clips that may be left out; None where none may."""
    share = run.config.DATASET.get("skip_bad", 0.0)
    if not share:
        return None
    return BadClips(run.folder / SKIPPED, math.ceil(share * clips))


def train_order(run: Run, dataset: Dataset) -> Order:
    """The order that the DATASET section asks for; the same whatever the number of ranks."""
    section, seed, size = run.config.DATASET, run.settings.seed, len(dataset)
    window = section.get("shuffle_window")
    window = WINDOW if window is None else window
    order: Order = InOrder()
    if section.get("shuffle", True):
        in_blocks = 0 < window < size
        order = ShuffledBlocks(size, seed, window) if in_blocks else Shuffled(size, seed)
    pool = section.get("group_by_length", 0)
    if pool:
        batch = section.get("batch_size", 8)
        order = SimilarLengths(order, size, batch, dataset.lengths, pool, seed)
    return order


def test_loader(run: Run, split: str) -> tuple[Dataset, BatchLoader]:
    """A dataset and this rank's batches of a fixed grid over it."""
    dataset, steps = open_split(run, split)
    size = split_setting(run, split, "batch_size")
    sampler = GridSampler(len(dataset), size, run.world.rank, run.world.size)
    reader = SampleReader(dataset, steps, run.settings.seed)
    return dataset, BatchLoader(reader, sampler, split_setting(run, split, "num_workers"))


def check_sizes(model: BaseFramework, **loaders: BatchLoader | None) -> None:
    """Compares the data of each split with the model's sizes, samples as they are read.

    Raises ConfigError, naming the key, for what is known before: vocabulary and classes.
    """
    for split, loader in loaders.items():
        if loader is not None:
            loader.reader.keep_within(model.limits(), split)


def build_metric(run: Run, dataset: Dataset) -> Metric:
    """Returns the METRIC section's metric, or the data set's own.

    Raises:
        ConfigError: a class that does not derive from ``Metric`` lacks a method.
    """
    default = dataset.default_metric()
    metric = METRICS.build(run.config.get("METRIC") or default)
    return metric if isinstance(metric, Metric) else PlainMetric(metric, METRICS.build(default))


def lookup(results: Mapping[str, Any], key: str) -> float:
    """The number that METRIC.best names by its dotted key, as in ``text_to_video.R@10``.

    Raises ConfigError where there is none, with those that there are.
    """
    value: Any = results
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, Mapping) or value is None:
        known = [name for name in flatten(results) if not name.startswith("stages.")]
        raise ConfigError(
            f'METRIC.best is "{key}", and the metric gives no such number.'
            f"{did_you_mean(key, known)} Known: {', '.join(known)}"
        )
    return float(value)


def flatten(results: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested results under dotted keys."""
    flat: dict[str, float] = {}
    for key, value in results.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, Real):
            flat[prefix + key] = float(value)
    return flat
