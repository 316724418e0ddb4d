"""The dry run: sizes, memory and time of a training run, from a few steps that are discarded."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from paddlevideo.config import Config, RunSettings, dump_config
from paddlevideo.files.writable import nearest_folder, try_folder
from paddlevideo.modeling import BaseFramework
from paddlevideo.runtime import memory_used, synchronize_clock
from paddlevideo.solver.state import MASTER_WEIGHT, state_by_structured_name
from paddlevideo.tasks.accumulation import in_windows
from paddlevideo.tasks.cards import Needs, card_lines, count_kept, count_operators, known_cards
from paddlevideo.tasks.run_folder import run_identity
from paddlevideo.tasks.setup import start_run
from paddlevideo.tasks.train import Trainer
from paddlevideo.utils.errors import ConfigError

log = logging.getLogger("paddlevideo")

#: The first step warms up, the others are timed.
STEPS = 4
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Steps:
    """Measurements of a few steps. Seconds: medians of all but the first."""

    first_batch: Mapping[str, Any]
    waiting_seconds: float
    step_seconds: float


def dry_run(
    config: Config, weights: str | None = None, validate: bool = False, fleet: bool = False
) -> None:
    """Builds everything that training needs, takes a few steps, and prints the measurements.

    Writes only to a temporary folder and does not resume. Raises the errors of a training run.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = start_run(config, "train", validate, fleet, Path(folder), weights)
        run.lock.release()  # nothing else writes there
        if run.world.is_main:
            warn_if_refused(run.settings)
        fresh = replace(run.settings, resume="", resume_epoch=0, visualdl=False)
        try_folder(Path(run.settings.output_dir))  # as a run would
        trainer = Trainer(replace(run, settings=fresh), None)
        trainer.saver.steps = trainer.saver.seconds = 0  # saves nothing
        try:
            trainer.rehearse()
            steps = take_steps(trainer)
            peak = memory_used()
            arrays = state_by_structured_name(trainer.updater.optimizer, trainer.model)
            held = sum(array.nbytes for array in arrays.values() if isinstance(array, np.ndarray))
            needs = needs_of(trainer, steps.first_batch, arrays)
            held_by_all = int(run.world.sum([held])[0]) if run.world.sharding else held
            run.world.barrier()
        finally:
            trainer.saver.close()
            trainer.meters.close()
    if run.world.is_main:
        seconds = steps.step_seconds + steps.waiting_seconds
        for title, lines in {
            "configuration": dump_config(run.config).splitlines(),
            "data": data_lines(trainer, steps),
            "parameters": parameter_lines(trainer.model),
            "memory of a process": memory_lines(trainer, held, peak),
            "disk": disk_lines(trainer, held_by_all, seconds, Path(run.settings.output_dir)),
            "estimated settings for GPUs, which no GPU has confirmed": card_lines(
                known_cards(), needs
            ),
            f"time on this machine ({run.device}, {run.world.size} process(es), "
            f"{run.threads} thread(s) each)": time_lines(trainer, steps),
        }.items():
            print(f"\n{title}")
            for line in lines:
                print(f"  {line}")
        print(f"\nNone of this is kept. A run writes to {run.settings.output_dir}")


def warn_if_refused(settings: RunSettings) -> None:
    """Warns if training would not start because the folder holds another run."""
    try:
        run_identity(Path(settings.output_dir), settings)
    except ConfigError as error:
        log.warning("training would be refused: %s", error)


def take_steps(trainer: Trainer) -> Steps:
    """Takes the first steps of a run, and times reading and training."""
    trainer.model.train()
    windows = in_windows(trainer.loader.epoch(0), trainer.sizes.window)
    waiting, training = [], []
    first_batch: Mapping[str, Any] = {}
    began = time.perf_counter()
    for window in islice(windows, min(STEPS, trainer.sizes.steps)):
        read = time.perf_counter()
        trainer.train_step(window)
        done = synchronize_clock()
        waiting.append(read - began)
        training.append(done - read)
        first_batch = first_batch or window[0]
        began = time.perf_counter()
    return Steps(first_batch, median(waiting[1:] or waiting), median(training[1:] or training))


def needs_of(trainer: Trainer, batch: Mapping[str, Any], optimizer: Mapping[str, Any]) -> Needs:
    """Returns what training needs of a card; call it on all ranks.

    ``optimizer``: the state of the optimizer by structured name.
    """
    counts = count_parameters(trainer.model).values()
    parameters, trained = (sum(numbers) for numbers in zip(*counts, strict=True))
    moments = sum(
        array.nbytes
        for key, array in optimizer.items()
        if isinstance(array, np.ndarray) and not key.endswith(f"/{MASTER_WEIGHT}")
    )
    began = time.perf_counter()
    trainer.loader.reader.batch(0, np.asarray(batch["index"]).tolist())
    seconds = (time.perf_counter() - began) / len(batch["index"])
    average = 4.0 * parameters if trainer.settings.ema_decay else 0.0
    operators = count_operators(lambda: trainer.train_step([batch]))
    kept = count_kept(trainer.model, batch, trainer.amp)
    size = trainer.run.data.batch_size
    return Needs(parameters, trained, moments, average, kept, operators, seconds, size)


def data_lines(trainer: Trainer, steps: Steps) -> Iterator[str]:
    """Yields the number of clips, steps and epochs, and the arrays of a batch."""
    size, ranks = trainer.run.data.batch_size, trainer.world.size
    epochs = trainer.settings.epochs
    total = trainer.plan.total_steps()
    at_once = f"batch_size {size} x {ranks} process(es) x {trainer.sizes.window} micro-batch(es)"
    yield f"{'clips':16s} {len(trainer.loader.reader.dataset):,}"
    yield f"{'a step':16s} {size * ranks * trainer.sizes.window} clips: {at_once}"
    yield f"{'all':16s} {epochs} epoch(s) of {trainer.sizes.steps:,} steps: {total:,} steps"
    yield "the first batch:"
    for name, array in steps.first_batch.items():
        array = np.asarray(array)
        yield f"  {name:20s} {' x '.join(map(str, array.shape)):20s} {array.dtype}"


def parameter_lines(model: BaseFramework) -> Iterator[str]:
    """Yields the number of parameters, and of trained ones, in each part of the model."""
    yield f"{'':20s} {'all':>13s} {'trained':>13s}"
    sums = [0, 0]
    for name, (count, trained) in count_parameters(model).items():
        yield f"{name:20s} {count:13,d} {trained:13,d}"
        sums = [sums[0] + count, sums[1] + trained]
    yield f"{'total':20s} {sums[0]:13,d} {sums[1]:13,d}"


def count_parameters(model: BaseFramework) -> dict[str, tuple[int, int]]:
    """Returns the number of parameters, and of trained ones, by part; shared ones count once."""
    counts: dict[str, tuple[int, int]] = {}
    seen: set[str] = set()

    def count(parameters: Iterable[Any]) -> tuple[int, int]:
        new = {p.name: p for p in parameters if p.name not in seen}
        seen.update(new)
        sizes = [(int(np.prod(p.shape)), not p.stop_gradient) for p in new.values()]
        return sum(size for size, _ in sizes), sum(size for size, trained in sizes if trained)

    for name, layers in model.parts().items():
        counts[name] = count(p for layer in layers for p in layer.parameters())
    rest = count(model.parameters())
    return {**counts, "others": rest} if rest[0] else counts


def memory_lines(trainer: Trainer, held: int, peak: int) -> Iterator[str]:
    """Yields the memory of weights, gradients and optimizer, and the measured peak."""
    parameters = list(trainer.model.parameters())
    weights = sum(p.numel().item() * p.element_size() for p in parameters)
    gradients = sum(p.numel().item() * p.element_size() for p in parameters if not p.stop_gradient)
    average = weights if trainer.settings.ema_decay else 0
    named = {"weights": weights, "gradients": gradients, "optimizer arrays": held}
    if average:
        named["weight average"] = average
    others = "activations, data and the program itself"
    for name, size in named.items():
        yield f"{name:16s} {size / MEGABYTE:8,.0f} MB"
    yield f"{'peak':16s} {peak / MEGABYTE:8,.0f} MB measured, which includes {others}"


def disk_lines(trainer: Trainer, held: int, step_seconds: float, folder: Path) -> Iterator[str]:
    """Yields the most space that checkpoints take, and the free space on that disk."""
    written = trainer.model.to_released(trainer.model.state_dict()).values()
    averages = trainer.average.state().get("weights", {}).values()
    weights = sum(p.numel().item() * p.element_size() for p in written)
    one = weights + held + sum(array.nbytes for array in averages)
    counts = count_checkpoints(trainer, step_seconds)
    total = sum(counts.values()) * one
    several = ("of epochs", "within an epoch")
    listed = ", ".join(
        f"{count} {name}" if name in several else name for name, count in counts.items() if count
    )
    free = shutil.disk_usage(nearest_folder(folder)).free
    yield f"{'a checkpoint':16s} {one / MEGABYTE:8,.0f} MB"
    yield f"{'all checkpoints':16s} {total / MEGABYTE:8,.0f} MB at most ({listed}), in {folder}"
    short = "" if total <= free else ", which is not enough"
    yield f"{'free space':16s} {free / MEGABYTE:8,.0f} MB{short}"


def count_checkpoints(trainer: Trainer, step_seconds: float) -> dict[str, int]:
    """Returns the largest number of checkpoints on disk at once, by kind.

    Those within an epoch are removed when an epoch is saved; how many ``save_minutes`` writes
    until then is estimated from ``step_seconds``.
    """
    settings, sizes = trainer.settings, trainer.plan.sizes
    validates = trainer.validation is not None
    epochs = -(-settings.epochs // settings.save_interval)
    steps = sizes.steps * min(settings.save_interval, settings.epochs)
    within = 1  # of a stopped run, or of an epoch to validate
    if settings.save_steps:
        within += steps // settings.save_steps
    if settings.save_minutes:
        within += int(steps * step_seconds / (60 * settings.save_minutes))
    if validates:
        within += settings.save_interval // settings.val_interval
    if settings.keep:
        epochs, within = min(epochs, settings.keep), min(within, settings.keep)
    return {
        "of epochs": epochs,
        "within an epoch": within,
        "the best": int(validates),
        "the average": int(settings.ema_decay > 0),
        "one being written": 1,
    }


def time_lines(trainer: Trainer, steps: Steps) -> Iterator[str]:
    """Yields the time of a step and of the run."""
    step, waiting = steps.step_seconds, steps.waiting_seconds
    total = timedelta(seconds=round((step + waiting) * trainer.plan.total_steps()))
    samples = (
        trainer.run.data.batch_size * trainer.world.size * trainer.sizes.window / (step + waiting)
    )
    yield f"{'a step':16s} {step + waiting:.3g} s, {waiting:.2g} s of it waiting for data"
    yield f"{'speed':16s} {samples:.3g} samples/s"
    yield f"{'all steps':16s} {total}, without validations and checkpoints"
