"""Times, losses and accuracies of a training run, for the log and the writers."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import paddle
from paddle import Tensor

from paddlevideo.modeling import Hits
from paddlevideo.runtime import World, memory_used, synchronize_clock
from paddlevideo.tasks.writers import Writers, draw_curves

log = logging.getLogger("paddlevideo")
Item = TypeVar("Item")


class Meters:
    """Collects one logging interval. Losses and hits stay on the device until they are logged."""

    def __init__(
        self, world: World, folder: Path, epochs: int, log_interval: int, visualdl: bool = False
    ) -> None:
        """``folder``: where rank 0 writes; ``visualdl``: write the curves for VisualDL too."""
        self.world, self._folder, self._visualdl = world, folder, visualdl
        self.epochs = epochs
        self.log_interval = log_interval
        self._reset()
        self._writers: Writers | None = None

    def timed(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yields ``items``, and times the loop over them and the wait for the next item.

        The time between two epochs does not count.
        """
        iterator = iter(items)
        self._since = synchronize_clock()
        try:
            while True:
                start = time.perf_counter()
                try:
                    item = next(iterator)
                except StopIteration:
                    return
                self._reader_seconds += time.perf_counter() - start
                yield item
        finally:
            self._seconds += synchronize_clock() - self._since

    def add(
        self,
        losses: Iterable[Mapping[str, Tensor]],
        hits: Iterable[Mapping[str, Hits]],
        samples: int,
    ) -> None:
        """Adds a step that was taken; nothing is copied from the device yet.

        Args:
            losses: those of each micro-batch; the step's losses are their sums.
            hits: those of each micro-batch.
            samples: number of this rank's samples in the step.
        """
        self._losses.extend(losses)
        for each in hits:
            for name, one in each.items():
                self._hits.setdefault(name, []).append(one)
        self._taken += 1
        self._samples += samples

    def end_step(self, epoch: int, step_in_epoch: int, steps_left: int, extra: Mapping) -> None:
        """Ends an optimizer step and, every ``log_interval`` steps, logs and writes.

        ``extra``: other scalars, among them the learning rate.
        """
        self._steps += 1
        if step_in_epoch % self.log_interval or not self._losses:  # all steps were skipped
            return
        record = self._summarise(extra)
        if self.world.is_main:
            eta = timedelta(seconds=round(steps_left * record["batch_cost"]))
            line = f"epoch:[{epoch:>3d}/{self.epochs} ] train step:{step_in_epoch:<5d}"
            about = {"epoch": epoch, "step": step_in_epoch, **record}
            fields = {"event": "step", **about}
            log.info("%s", format_line(line, record, eta), extra={"fields": fields})
            self._open().write(about)
        self._reset()

    def _summarise(self, extra: Mapping[str, float]) -> dict[str, float]:
        """Returns averages over steps and ranks; must be called on all ranks at the same step."""
        seconds = max(self._seconds + synchronize_clock() - self._since, 1e-9)
        means, accuracies = self._over_ranks()
        return {
            **means,
            **accuracies,
            **extra,
            "skipped_steps": self._steps - self._taken,
            "batch_cost": seconds / self._steps,
            "reader_cost": self._reader_seconds / self._steps,
            "ips": self._samples * self.world.size / seconds,
            "memory_mb": memory_used() / 2**20,
        }

    def _over_ranks(self) -> tuple[dict[str, float], dict[str, float]]:
        """Returns the mean losses of the steps taken, and the accuracies, by name.

        An accuracy is the number of hits over the number of labels; without labels it is left out.
        """
        losses, hits = list(self._losses[0]), list(self._hits)
        columns = [paddle.stack([each[name] for each in self._losses]) for name in losses]
        sums = [float(column.astype("float32").sum()) for column in columns]
        correct = [float(paddle.stack([h.correct for h in self._hits[n]]).sum()) for n in hits]
        total = [float(sum(h.total for h in self._hits[name])) for name in hits]
        values = iter(self.world.sum([*sums, *correct, *total]).tolist())
        steps = self.world.size * self._taken
        means = {name: next(values) / steps for name in losses}
        correct = [next(values) for _ in hits]
        return means, {
            name: n / of for name, n, of in zip(hits, correct, values, strict=True) if of
        }

    def _reset(self) -> None:
        self._losses: list[Mapping[str, Tensor]] = []
        self._hits: dict[str, list[Hits]] = {}
        self._samples = self._steps = self._taken = 0
        self._reader_seconds = self._seconds = 0.0
        self._since = time.perf_counter()

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes validation results, in the same files as the training curves."""
        if self.world.is_main:
            self._open().write({"step_total": step, **scalars})

    def _open(self) -> Writers:
        if self._writers is None:
            self._writers = Writers(self._folder, self._visualdl)
        return self._writers

    def draw(self) -> None:
        """Draws the curves up to now, if anything has been logged."""
        if self.world.is_main and self._open().has_lines:
            draw_curves(self._folder)

    def close(self) -> None:
        """Flushes the files."""
        if self._writers is not None:
            self._writers.close()


def format_line(line: str, record: Mapping[str, float], eta: timedelta) -> str:
    """Returns PaddleVideo's log line, with each loss by name."""
    losses = " ".join(f"{k}: {v:.5f}" for k, v in record.items() if k.endswith("loss"))
    return (
        f"{line} {losses} lr: {record['lr']:.6g} "
        f"batch_cost: {record['batch_cost']:.5f} sec, reader_cost: {record['reader_cost']:.5f} "
        f"sec, ips: {record['ips']:.5f} instance/sec, eta: {eta}"
    )
