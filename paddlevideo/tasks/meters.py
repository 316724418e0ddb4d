"""Times and losses of a training run: the log line, JSON lines and TensorBoard scalars."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import paddle
from paddle import Tensor

from paddlevideo.runtime import World, memory_used, synchronize_clock

log = logging.getLogger("paddlevideo")
Item = TypeVar("Item")


class Meters:
    """Collects one logging interval. Losses stay on the device until they are printed."""

    def __init__(self, world: World, folder: Path, epochs: int, log_interval: int) -> None:
        self.world = world
        self.epochs = epochs
        self.log_interval = log_interval
        self._losses: list[dict[str, Tensor]] = []
        self._samples = 0
        self._steps = 0
        self._reader_seconds = 0.0
        self._since = time.perf_counter()
        self._writers = Writers(folder) if world.is_main else None

    def timed(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yields ``items`` and counts the seconds spent waiting for them."""
        iterator = iter(items)
        self._since = synchronize_clock()
        while True:
            start = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            self._reader_seconds += time.perf_counter() - start
            yield item

    def add(self, losses: Iterable[dict[str, Tensor]], samples: int) -> None:
        """Adds the micro-batches' shares of a step's losses; nothing is read back yet."""
        self._losses.extend(losses)
        self._samples += samples

    def end_step(self, epoch: int, step_in_epoch: int, steps_left: int, extra: Mapping) -> None:
        """Ends an optimizer step and, every ``log_interval`` steps, prints and writes.

        ``extra``: further scalars, the learning rate among them.
        """
        self._steps += 1
        if step_in_epoch % self.log_interval or not self._losses:  # all steps were left out
            return
        record = self._summarise(extra)
        if self.world.is_main:
            eta = timedelta(seconds=round(steps_left * record["batch_cost"]))
            line = f"epoch:[{epoch:>3d}/{self.epochs} ] train step:{step_in_epoch:<5d}"
            log.info("%s", format_line(line, record, eta))
            assert self._writers is not None
            self._writers.write({"epoch": epoch, "step": step_in_epoch, **record})
        self._reset()

    def _summarise(self, extra: Mapping[str, float]) -> dict[str, float]:
        """Averages over steps and ranks; called by all ranks at the same step."""
        names = list(self._losses[0])
        columns = [paddle.stack([losses[name] for losses in self._losses]) for name in names]
        sums = [float(column.astype("float32").sum()) for column in columns]
        means = self.world.sum(sums) / (self.world.size * self._steps)
        seconds = max(synchronize_clock() - self._since, 1e-9)
        return {
            **dict(zip(names, (float(mean) for mean in means), strict=True)),
            **extra,
            "batch_cost": seconds / self._steps,
            "reader_cost": self._reader_seconds / self._steps,
            "ips": self._samples * self.world.size / seconds,
            "memory_mb": memory_used() / 2**20,
        }

    def _reset(self) -> None:
        self._losses = []
        self._samples = self._steps = 0
        self._reader_seconds = 0.0
        self._since = time.perf_counter()

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes validation results beside the training curves."""
        if self._writers is not None:
            self._writers.write({"step_total": step, **scalars})

    def close(self) -> None:
        """Flushes the files."""
        if self._writers is not None:
            self._writers.close()


def format_line(line: str, record: Mapping[str, float], eta: timedelta) -> str:
    """PaddleVideo's log line, with each loss by name."""
    losses = " ".join(f"{k}: {v:.5f}" for k, v in record.items() if k.endswith("loss"))
    return (
        f"{line} {losses} lr: {record['lr']:.6g} "
        f"batch_cost: {record['batch_cost']:.5f} sec, reader_cost: {record['reader_cost']:.5f} "
        f"sec, ips: {record['ips']:.5f} instance/sec, eta: {eta}"
    )


class Writers:
    """``train.jsonl`` and TensorBoard's event file."""

    def __init__(self, folder: Path) -> None:
        from tensorboardX import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._jsonl = (folder / "train.jsonl").open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"))

    def write(self, record: Mapping[str, Any]) -> None:
        """One line, and one scalar for every number in it."""
        self._jsonl.write(json.dumps(record) + "\n")
        self._jsonl.flush()
        step = int(record["step_total"])
        for name, value in record.items():
            if isinstance(value, (float, np.floating)):
                self._board.add_scalar(name.replace("@", "_at_"), value, step)

    def close(self) -> None:
        """Flushes both."""
        self._jsonl.close()
        self._board.close()
