"""Ranks: what they share, and where they wait for each other."""

from __future__ import annotations

import logging
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, TypeVar

import numpy as np
import paddle
import paddle.distributed as dist
from paddle import Tensor, nn

from paddlevideo.runtime.device import own_rank, world_size
from paddlevideo.runtime.sharding import (
    ShardedOptimizer,
    collect,
    description,
    shard_by_paddle,
)
from paddlevideo.runtime.watch import Watch
from paddlevideo.utils.errors import ConfigError, UserError

log = logging.getLogger("paddlevideo")
Item = TypeVar("Item")


class RankLost(UserError):
    """A rank does not come."""


#: Seconds that a rank is waited for before a warning names it.
PATIENCE = 20.0


class World:
    """The ranks that work together; a world of one costs nothing.

    gloo kills a rank that waits half a minute in a collective, so every wait that may be long
    (a rank reads, saves, or tests a larger share) is a meeting in the launcher's key-value store.
    """

    def __init__(self, fleet: bool = False, sharding: int = 0) -> None:
        """``fleet``: model and optimizer are wrapped by Paddle's Fleet, not by DataParallel.

        ``sharding``: what is divided over the ranks: 1 the optimizer's arrays, 2 gradients too, 3
        parameters too; 0 nothing. Raises ConfigError for 2 and 3 without a GPU.
        """
        self.size = world_size()
        self.sharding = sharding if self.size > 1 else 0
        if self.sharding > 1 and not paddle.device.get_device().startswith("gpu"):
            raise ConfigError(
                f"sharding: {sharding} needs GPUs: Paddle's group_sharded_parallel takes nothing "
                "else. sharding: 1 divides the optimizer's arrays on CPUs too"
            )
        # Alone there is nothing to distribute, and Fleet would take one process for a pipeline.
        self.fleet = self.size > 1 and (fleet or self.sharding > 1)
        self.rank = own_rank(self.size) if self.size > 1 else 0
        self._meetings = 0
        self._watch: Watch | None = None
        if self.size > 1:
            self._join()

    def _join(self) -> None:
        """Waits for the other ranks and connects with them; Paddle does so without a word."""
        print(
            f"rank {self.rank} waits for {self.size - 1} more to start (PADDLE_TRAINERS_NUM is "
            f"{self.size}; unset it if it is left over from another run)",
            file=sys.stderr,
            flush=True,
        )
        if self.fleet:
            dist.fleet.init(is_collective=True)
        else:
            dist.init_parallel_env()

    @property
    def is_main(self) -> bool:
        """Whether this rank prints and writes files."""
        return self.rank == 0

    def sum(self, values: Sequence[float] | np.ndarray) -> np.ndarray:
        """Sums over ranks, float64; exact for counts below 2**53."""
        array = np.asarray(values, dtype=np.float64)
        if self.size == 1:
            return array
        tensor = paddle.to_tensor(array)
        dist.all_reduce(tensor)
        return tensor.numpy()

    def sum_patiently(self, values: np.ndarray) -> np.ndarray:
        """The same, for ranks that may come at very different times."""
        self.meet()
        return self.sum(values)

    def any(self, mine: bool) -> bool:
        """Whether it holds for any rank. May wait for long."""
        if self.size == 1:
            return mine
        return bool(self.sum_patiently(np.array([mine]))[0])

    def gather(self, item: Any) -> list[Any]:
        """Every rank's ``item``, in the order of ranks, on all ranks. May wait for long."""
        if self.size == 1:
            return [item]
        self.meet()
        items: list[Any] = []
        dist.all_gather_object(items, item)
        return items

    def decide(self, choose: Callable[[], Item]) -> Item:
        """What ``choose`` returns on rank 0, on all ranks; what it raises there, all raise."""
        outcome: Any = None
        if self.is_main:
            try:
                outcome = choose()
            except (UserError, OSError) as error:
                outcome = error
        outcome = self.gather(outcome)[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def gather_rows(self, rows: Tensor) -> tuple[list[Tensor], int]:
        """Every rank's ``rows`` (n, ...), without gradient, and the place of this rank's own.

        Ranks may have different n; the other dimensions are equal.
        """
        if self.size == 1:
            return [rows], 0
        counts: list[Tensor] = []
        dist.all_gather(counts, paddle.to_tensor([len(rows)]))
        lengths = [int(count.item()) for count in counts]
        filling = paddle.zeros([max(lengths) - len(rows), *rows.shape[1:]], rows.dtype)
        parts: list[Tensor] = []
        dist.all_gather(parts, paddle.concat([rows.detach(), filling]))
        return [part[:length] for part, length in zip(parts, lengths, strict=True)], self.rank

    def meet(self, where: str = "", limit: float = math.inf) -> None:
        """Waits until every rank has come here; where all have, for three answers of the store.

        A warning names the ranks that others have waited for since 20 seconds. Raises RankLost
        after ``limit`` seconds. ``where`` is for these messages. With it, what begins here should
        not take long: it is watched until the next meeting or :meth:`rest`.
        """
        if self.size == 1:
            return
        store = paddle.base.core.create_or_get_global_tcp_store()
        if self._watch is None:
            self._watch = Watch(self.rank, self.size, store, PATIENCE)
        self.rest()
        with self._watch.lock:
            self._wait(store, where or "the end of a test or of a checkpoint", limit)
        if where:
            self._watch.begin(where)

    def rest(self) -> None:
        """What comes before the next meeting may take its time on any rank."""
        if self._watch is not None:
            self._watch.end()

    def _wait(self, store: Any, where: str, limit: float) -> None:
        self._meetings += 1
        if self._meetings <= 2:  # by the second, every rank has connected to the store
            answer_at_once()
        store.add(f"met/{self.rank}", 1)
        together = store.add("met", 1)
        began, report = time.monotonic(), PATIENCE
        while together < self._meetings * self.size:
            waited = time.monotonic() - began
            if waited > min(report, limit):
                absent = self._absent(store)
                if waited > limit:
                    raise RankLost(
                        f"rank {self.rank} has waited {waited:.0f} s at {where} for rank(s) "
                        f"{absent}: they hang or are gone. Their logs tell more; --resume auto "
                        "goes on from the newest checkpoint"
                    )
                log.warning("rank %d waits at %s for rank(s) %s", self.rank, where, absent)
                report *= 3
            time.sleep(min(0.1 * waited + 2e-5, 0.05))
            together = store.add("met", 0)

    def _absent(self, store: Any) -> str:
        """The ranks that have not come to this meeting yet."""
        others = (rank for rank in range(self.size) if rank != self.rank)
        late = [rank for rank in others if store.add(f"met/{rank}", 0) < self._meetings]
        return ", ".join(map(str, late))

    def wrap(self, model: nn.Layer, updater: Any = None) -> nn.Layer:
        """The model as it is called in training: with gradients averaged over ranks.

        With ``sharding`` 2 or 3 the ``optimizer`` and the ``scaler`` of ``updater`` are replaced.
        """
        if self.sharding > 1:
            return shard_by_paddle(model, updater, self.sharding)
        if self.fleet:
            return dist.fleet.distributed_model(model)
        return model if self.size == 1 else paddle.DataParallel(model)

    def wrap_optimizer(self, optimizer: Any) -> Any:
        """The optimizer with its arrays divided over the ranks, as Fleet wants it, or as it is."""
        if self.sharding == 1:
            return ShardedOptimizer(optimizer, self.rank, self.size)
        by_fleet = self.fleet and self.sharding == 0
        return dist.fleet.distributed_optimizer(optimizer) if by_fleet else optimizer

    def whole_norm(self, norm: float) -> float:
        """Length of all gradients, from the length of those that this rank has."""
        return norm if self.sharding < 2 else math.sqrt(self.sum([norm**2])[0])

    def collect(self, mine: Mapping[str, Any]) -> dict[str, Any]:
        """What this rank has of the optimizer's state -> all of it on rank 0, else nothing.

        To be called on all ranks if arrays are divided over them.
        """
        if self.sharding != 1:
            return dict(mine)
        return collect(mine, self.gather(description(mine)), self.rank)

    def accumulate_only(self, model: nn.Layer, accumulating: bool) -> AbstractContextManager:
        """Leaves gradients unaveraged while micro-batches are still to come."""
        waits = self.size > 1 and accumulating and self.sharding < 2
        return model.no_sync() if waits else nullcontext()


def answer_at_once() -> None:
    """Switches off the delay of small packets on this process's connections to the store.

    Paddle writes requests and answers in pieces; with Nagle's algorithm each waits 44 ms for an
    acknowledgement, and a meeting takes 130. Linux only; elsewhere nothing happens.
    """
    port = os.environ.get("PADDLE_MASTER", "").rpartition(":")[2]
    if not port.isdecimal() or not os.path.isdir("/proc/self/fd"):
        return
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError), socket.socket(fileno=os.dup(int(name))) as copy:
            is_tcp = copy.family in (socket.AF_INET, socket.AF_INET6)
            if is_tcp and int(port) in (copy.getsockname()[1], copy.getpeername()[1]):
                copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
