"""What training and testing share: device, ranks, folder, data and metric of a run."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

from paddlevideo.checkpoint import Checkpoints
from paddlevideo.config import (
    Config,
    RunSettings,
    check_config,
    dump_config,
    run_settings,
    with_data,
)
from paddlevideo.config.check import Mode
from paddlevideo.config.settings import DatasetSettings, dataset_settings
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
from paddlevideo.loader.sampler import GridSampler, OwnSampler, TrainSampler
from paddlevideo.loader.skipping import BadClips
from paddlevideo.metrics.base import Metric, PlainMetric
from paddlevideo.modeling import BaseFramework
from paddlevideo.registry import METRICS, did_you_mean
from paddlevideo.runtime import (
    World,
    half_type,
    make_deterministic,
    seed_everything,
    select_device,
    use_threads,
    world_size,
)
from paddlevideo.tasks.run_folder import CONFIG, LOG, SKIPPED, begin_in, take_folder
from paddlevideo.tasks.stores import check_equal, check_stores, with_share
from paddlevideo.tasks.writers import visualdl_log_writer
from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.log import FILE_ONLY, log_to, set_up_logging

log = logging.getLogger("paddlevideo")


@dataclass(frozen=True)
class Run:
    """Where and how a task runs. ``lock``: on the folder; ``identity``: of a training run."""

    config: Config
    settings: RunSettings
    data: DatasetSettings
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

    ``validate``, ``fleet`` and ``weights`` set the settings of these names. The folder, by default
    ``output_dir``, is locked; nothing is written to it before :func:`begin`. Raises ConfigError
    with every mistake in the configuration, or if the folder belongs to another run.
    """
    config = config.copy()
    given = {"validate": validate, "fleet": fleet, "weights": weights}
    config.update({key: value for key, value in given.items() if value})
    several = world_size() > 1
    # Files may be absent on one rank only, which the others must learn of.
    warnings = check_config(config, mode, files=not several)
    settings = run_settings(config)
    device = select_device(settings.device)
    if settings.amp.enable and device.startswith("gpu"):
        config["amp"]["dtype"] = half_type(settings.amp.dtype)  # a resumed run must have it too
        settings = run_settings(config)
    if settings.deterministic:
        make_deterministic(device)
    threads = use_threads(settings.num_threads)
    trains = mode == "train"
    world = World(trains and settings.fleet, trains and settings.sharding == 1)
    set_up_logging(settings.log_level, silent=not world.is_main)
    if several:
        world.together(lambda: check_config(config, mode))
    folder = folder or Path(settings.output_dir)
    lock = FolderLock(folder, mode, "output_dir (-o output_dir=FOLDER)")
    identity = world.decide(lambda: take_folder(lock, settings, config if trains else None))
    for warning in warnings:
        log.warning("%s", warning)
    logging.getLogger(FILE_ONLY).info("configuration:\n%s", dump_config(config).rstrip())
    log.info("%s, %d rank(s), %d thread(s) each, output in %s", device, world.size, threads, folder)
    seed_everything(settings.seed)
    data = dataset_settings(config)
    return Run(config, settings, data, world, device, threads, folder, lock, identity)


def begin(run: Run, is_new: bool = True) -> None:
    """Starts writing to the run's folder; all checks that can refuse the run come before.

    ``is_new``: the run starts with its first step. Its configuration goes to ``config.yaml``.
    """
    if run.settings.visualdl and run.identity:
        visualdl_log_writer()
    if run.world.is_main:
        if run.identity:
            begin_in(run.folder, run.settings, run.identity, is_new)
        log_to(run.folder / LOG)
        once = ("resume", "resume_epoch", "force", "overwrite")  # apply to this start only
        kept = Config({key: value for key, value in run.config.items() if key not in once})
        text = dump_config(kept)
        name = CONFIG if run.identity else "test_config.yaml"
        write_text_whole(run.folder / name, text)
    run.world.barrier()


def checkpoints_of(run: Run) -> Checkpoints:
    """Returns the checkpoints in the run's folder."""
    return Checkpoints(run.folder, run.settings.model_name, run.settings.keep, run.identity)


def open_split(run: Run, split: str) -> tuple[Dataset, list[Any]]:
    """Returns the dataset and the pipeline steps of ``train``, ``valid`` or ``test``.

    An error on one rank, such as an absent shard, is one of all.
    """
    config = with_data(run.config).to_dict()
    section = config["DATASET"][split]
    steps = ((config.get("PIPELINE") or {}).get(split) or {}).get("transform") or []

    def build() -> tuple[Dataset, list[Any], list[tuple[str, list[str]]]]:
        given = section, steps
        if split == "train" and run.data.shards == "by_rank":
            given = with_share(section, steps, (run.world.rank, run.world.size))
        found = check_stores(*given)
        return build_dataset(given[0]), build_pipeline(given[1]), found

    dataset, steps, found = run.world.together(build)
    check_equal(run.world, found)
    for warning in start_warnings(dataset, steps) if run.world.is_main else ():
        log.warning("DATASET.%s: %s", split, warning)
    return dataset, steps


def train_loader(run: Run) -> BatchLoader:
    """Returns the shuffled batches of this rank."""
    dataset, steps = open_split(run, "train")
    dataset = dataset.for_training()
    data, world, seed = run.data, run.world, run.settings.seed
    order, size = train_order(run, dataset), len(dataset)
    if data.shards == "all":
        sampler = TrainSampler(size, data.batch_size, world.rank, world.size, order, data.drop_last)
    else:
        sizes = world.gather(size)
        size = sum(sizes)
        sampler = OwnSampler(sizes, data.batch_size, order, data.drop_last)
        seed += world.rank << 64  # samples of all ranks are numbered from 0
        read = sampler.epoch_size
        log.info("each rank reads its own shards: %d of %d clips in an epoch", read, size)
    reader = SampleReader(dataset, steps, seed, bad_clips(run, size))
    return BatchLoader(reader, sampler, data.num_workers)


def epoch_samples(loader: BatchLoader) -> int:
    """Returns the number of samples of an epoch of training, on all ranks."""
    assert isinstance(loader.sampler, TrainSampler)
    return loader.sampler.epoch_size


def fitting_loader(run: Run, reader: SampleReader, samples: int) -> BatchLoader:
    """Returns this rank's share of about ``samples`` training samples, without augmentation."""
    size, (rank, ranks) = run.data.batch_size, (run.world.rank, run.world.size)
    if run.data.shards == "by_rank":  # the data set is this rank's share
        samples, rank, ranks = samples // ranks, 0, 1
    sampler = GridSampler(len(reader.dataset), size, rank, ranks).subsampled(samples)
    return BatchLoader(reader.without_augmentation(), sampler, run.data.num_workers)


def bad_clips(run: Run, clips: int) -> BadClips | None:
    """Returns the record of training clips that are skipped; None if none may be."""
    if not run.data.skip_bad:
        return None
    return BadClips(run.folder / SKIPPED, math.ceil(run.data.skip_bad * clips))


def train_order(run: Run, dataset: Dataset) -> Order:
    """Returns the order of ``dataset`` that the DATASET section sets."""
    data, seed, size = run.data, run.settings.seed, len(dataset)
    window = WINDOW if data.shuffle_window is None else data.shuffle_window
    order: Order = InOrder()
    if data.shuffle:
        in_blocks = 0 < window < size
        order = ShuffledBlocks(size, seed, window) if in_blocks else Shuffled(size, seed)
    if pool := data.group_by_length:
        order = SimilarLengths(order, size, data.batch_size, dataset.lengths, pool, seed)
    return order


def test_loader(run: Run, split: str) -> tuple[Dataset, BatchLoader]:
    """Returns the dataset of ``valid`` or ``test`` and this rank's batches of a fixed grid."""
    dataset, steps = open_split(run, split)
    size: int = getattr(run.data, f"{split}_batch_size")
    sampler = GridSampler(len(dataset), size, run.world.rank, run.world.size)
    reader = SampleReader(dataset, steps, run.settings.seed)
    return dataset, BatchLoader(reader, sampler, getattr(run.data, f"{split}_num_workers"))


def check_sizes(model: BaseFramework, **loaders: BatchLoader | None) -> None:
    """Checks the data of each split against the model's sizes; samples when they are read.

    Raises ConfigError, with the key, for what is known in advance: vocabulary and classes.
    """
    for split, loader in loaders.items():
        if loader is not None:
            loader.reader.set_limits(model.limits(), split)


def build_metric(run: Run, dataset: Dataset) -> Metric:
    """Returns the METRIC section's metric, or the data set's default.

    Raises:
        ConfigError: a class that does not derive from ``Metric`` lacks a method.
    """
    default = dataset.default_metric()
    metric = METRICS.build(run.config.get("METRIC") or default)
    return metric if isinstance(metric, Metric) else PlainMetric(metric, METRICS.build(default))


def lookup(results: Mapping[str, Any], key: str) -> float:
    """Returns the number under the dotted key ``METRIC.best``, such as ``text_to_video.R@10``.

    Raises ConfigError with the known keys if there is none.
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
    """Returns nested results under dotted keys."""
    flat: dict[str, float] = {}
    for key, value in results.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, Real):
            flat[prefix + key] = float(value)
    return flat
