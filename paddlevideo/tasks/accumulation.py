"""Splits an epoch into optimizer steps of several micro-batches and ranks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from paddlevideo.config.settings import accumulation_settings
from paddlevideo.tasks.setup import Run
from paddlevideo.utils.errors import ConfigError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Sizes:
    """The sizes of a batch, a step and an epoch. Samples are counted over all processes."""

    samples: int  # in a batch
    batches: int  # in an epoch
    window: int  # batches in an optimizer step; the last step of an epoch may have fewer

    @property
    def steps(self) -> int:
        """Optimizer steps in an epoch."""
        return self.steps_after(self.batches)

    def steps_after(self, batches: int) -> int:
        """Returns the number of optimizer steps in the first ``batches`` batches of an epoch."""
        return -(-batches // self.window)


def sizes_of(run: Run, batches: int) -> Sizes:
    """Returns the sizes of ``run``, each of whose ranks reads ``batches`` batches per epoch.

    Raises ConfigError if ``global_batch_size`` is not a multiple of ``batch_size`` times ranks.
    """
    samples = run.data.batch_size * run.world.size
    accumulation = accumulation_settings(run.config)
    wanted = accumulation.global_batch_size if accumulation else samples
    if wanted % samples:
        raise ConfigError(
            f"GRADIENT_ACCUMULATION.global_batch_size={wanted} is not a multiple of batch_size "
            f"x ranks = {samples}"
        )
    return Sizes(samples, batches, wanted // samples)


def in_windows(items: Iterable[Item], length: int) -> Iterator[list[Item]]:
    """Yields consecutive lists of ``length`` items; the last one may be shorter."""
    iterator = iter(items)
    while window := list(islice(iterator, length)):
        yield window
