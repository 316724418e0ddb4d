"""Several micro-batches and ranks in one optimizer step, with the losses of one large batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from paddle import Tensor

from paddlevideo.modeling import BaseFramework
from paddlevideo.runtime import World
from paddlevideo.tasks.resuming import Sizes, batch_size
from paddlevideo.tasks.setup import Run
from paddlevideo.utils.errors import ConfigError

Item = TypeVar("Item")


def window_length(run: Run) -> int:
    """Micro-batches in an optimizer step: global_batch_size / (batch_size * ranks).

    Raises ConfigError if that is no whole number.
    """
    wanted = (run.config.get("GRADIENT_ACCUMULATION") or {}).get("global_batch_size")
    if not wanted:
        return 1
    at_once = batch_size(run) * run.world.size
    if wanted % at_once:
        raise ConfigError(
            f"GRADIENT_ACCUMULATION.global_batch_size={wanted} is not a multiple of batch_size "
            f"x ranks = {at_once}"
        )
    return wanted // at_once


def sizes_of(run: Run, batches: int) -> Sizes:
    """How ``run`` cuts an epoch of ``batches`` of each rank into optimizer steps."""
    return Sizes(batch_size(run) * run.world.size, batches, window_length(run))


def in_windows(items: Iterable[Item], length: int) -> Iterator[list[Item]]:
    """Consecutive lists of ``length`` items; the last one may be shorter."""
    iterator = iter(items)
    while window := list(islice(iterator, length)):
        yield window


def loss_shares(
    model: BaseFramework, window: Sequence[Mapping[str, Any]], world: World
) -> list[dict[str, float]]:
    """What each micro-batch's named losses are multiplied by.

    Summed over the window and averaged over ranks, as gradients are, losses so weighted are
    those of all the samples at once: sum of numerators over sum of denominators.
    """
    own = [model.denominators(batch) for batch in window]
    names = list(own[0])
    if not names:
        return [{"loss": 1.0 / len(window)} for _ in window]
    totals = world.sum([sum(one[name] for one in own) for name in names])
    return [
        {
            name: one[name] * world.size / total if total else 0.0
            for name, total in zip(names, totals, strict=True)
        }
        for one in own
    ]


def weigh(losses: Mapping[str, Tensor], share: Mapping[str, float]) -> dict[str, Tensor]:
    """Multiplies named losses by their shares; ``"loss"`` becomes the sum of those named."""
    parts = {name: losses[name] * factor for name, factor in share.items()}
    return {"loss": sum(parts.values()), **{k: v for k, v in parts.items() if k != "loss"}}
