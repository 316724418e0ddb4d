"""The ranks of a distributed run: exchanges and barriers between them."""

from __future__ import annotations

import logging
import math
import os
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from typing import Any, TypeVar, cast

import numpy as np
import paddle
import paddle.distributed as dist
from paddle import Tensor, nn

from paddlevideo.runtime.device import rank_of_process, world_size
from paddlevideo.runtime.sharding import ShardedOptimizer, collect, description
from paddlevideo.runtime.watch import Silence, Watch
from paddlevideo.utils.errors import DataError, ToldElsewhere, UserError

log = logging.getLogger("paddlevideo")
Item = TypeVar("Item")


#: Seconds until a warning names a rank that others wait for, and between looks for signs of life.
PATIENCE, LOOK = 20.0, 1.0
#: Seconds that rank 0 waits at most for others to leave a barrier.
LEAVE = 10.0


#: Where ranks wait unless a barrier says otherwise, for messages.
AT_THE_END = "the end of a test or of a checkpoint"


def _pause(waited: float) -> float:
    """Returns the seconds until the store is asked again."""
    return min(0.1 * waited + 2e-5, 0.05)


class RankLost(UserError):
    """A rank did not reach a barrier within its time limit, or has ended."""


class World:
    """The ranks of a run; without the launcher, one rank at no cost.

    gloo kills a rank that waits 30 s in a collective operation, so every wait that may be long (a
    rank reads, saves, or has a larger share of a test) is a barrier over the launcher's TCP store.
    """

    #: Barriers that this process has reached, in all its runs: they share the store.
    barriers = 0
    #: How many of them it has left, as it has told rank 0.
    left = 0

    def __init__(self, fleet: bool = False, sharding: bool = False) -> None:
        """Connects to the other ranks.

        ``fleet``: wrap model and optimizer with Paddle's Fleet instead of DataParallel.

        ``sharding``: divide the optimizer's arrays over the ranks.
        """
        self.size = world_size()
        self.sharding = sharding and self.size > 1
        # With one process there is nothing to distribute, and Fleet would set up a pipeline.
        self.fleet = fleet and self.size > 1
        self.rank = rank_of_process(self.size) if self.size > 1 else 0
        if self.size > 1:
            self._join()

    def _join(self) -> None:
        """Connects to the other ranks, with a message, because Paddle waits for them silently."""
        print(
            f"rank {self.rank} waits for {self.size - 1} more to start (PADDLE_TRAINERS_NUM is "
            f"{self.size}; unset it if it is left over from another run)",
            file=sys.stderr,
            flush=True,
        )
        device = paddle.device.get_device()
        if device == "cpu":  # a Paddle with CUDA would connect GPUs, and compute on one
            os.environ["PADDLE_DISTRI_BACKEND"] = "gloo"
        with Watch.lock:  # that of an earlier run uses the store
            if self.fleet:
                dist.fleet.init(is_collective=True)
            else:
                dist.init_parallel_env()
        paddle.set_device(device)  # Paddle has chosen again

    @property
    def _watch(self) -> Watch:
        return _watch(self.rank, self.size)

    @property
    def _store(self) -> Any:
        return self._watch.store

    @property
    def is_main(self) -> bool:
        """Whether this rank prints and writes files."""
        return self.rank == 0

    def sum(self, values: Sequence[float] | np.ndarray) -> np.ndarray:
        """Returns the sums over ranks as float64, exact for counts below 2**53."""
        array = np.asarray(values, dtype=np.float64)
        if self.size == 1:
            return array
        tensor = paddle.to_tensor(array)
        dist.all_reduce(tensor)
        return tensor.numpy()

    def sum_patiently(self, values: np.ndarray) -> np.ndarray:
        """Like :meth:`sum`, for ranks that may arrive at very different times."""
        self.barrier()
        return self.sum(values)

    def any(self, flag: bool) -> bool:
        """Returns whether ``flag`` is True on any rank; ranks may arrive at different times."""
        return bool(self.sum_patiently(np.array([flag]))[0])

    def gather(self, item: Any, where: str = AT_THE_END) -> list[Any]:
        """Returns every rank's ``item``, in the order of ranks, on all ranks."""
        if self.size == 1:
            return [item]
        self.barrier(where)
        items: list[Any] = []
        dist.all_gather_object(items, item)
        return items

    def decide(self, choose: Callable[[], Item]) -> Item:
        """Returns on all ranks what ``choose`` returns on rank 0; all raise what it raises."""
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

    def together(self, work: Callable[[], Item]) -> Item:
        """Returns what ``work`` returns on this rank; if it fails on one, all ranks raise.

        Rank 0 raises one error that names hosts and ranks, the others ToldElsewhere.
        """
        if self.size == 1:
            return work()
        result, report = None, None
        try:
            result = work()
        except UserError as error:
            report = (socket.gethostname(), str(error), type(error))
        except OSError as error:
            name = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
            report = (socket.gethostname(), f"{name}{error.strerror or error}", DataError)
        reports = self.gather(report, "the check of the data")
        failed: dict[tuple[str, str, type[UserError]], list[str]] = {}
        for rank, each in enumerate(reports):
            if each is not None:
                failed.setdefault(each, []).append(str(rank))
        if not failed:
            return cast(Item, result)
        kind = next(iter(failed))[2]
        if not self.is_main:
            raise ToldElsewhere(kind.exit_code)
        texts = {text for _, text, _ in failed}
        if len(texts) == 1 and None not in reports:  # the same on all
            raise kind(texts.pop())
        lines = [
            f"rank{'s' * (len(ranks) > 1)} {', '.join(ranks)} on {host}: {text}"
            for (host, text, _), ranks in failed.items()
        ]
        raise kind("\n".join(lines))

    def gather_rows(self, rows: Tensor) -> tuple[list[Tensor], int]:
        """Returns a list of every rank's ``rows`` (n, ...), without gradient, and this rank.

        Ranks may have different n; the other dimensions are equal.
        """
        if self.size == 1:
            return [rows], 0
        counts: list[Tensor] = []
        dist.all_gather(counts, paddle.to_tensor([len(rows)]))
        lengths = paddle.concat(counts).tolist()  # one wait for the device
        padding = paddle.zeros([max(lengths) - len(rows), *rows.shape[1:]], rows.dtype)
        parts: list[Tensor] = []
        dist.all_gather(parts, paddle.concat([rows.detach(), padding]))
        return [part[:length] for part, length in zip(parts, lengths, strict=True)], self.rank

    def barrier(self, where: str = AT_THE_END, limit: float = math.inf) -> None:
        """Waits until every rank has arrived; if all have, it takes less than a millisecond.

        A warning names ranks that are more than 20 seconds late. Raises RankLost after ``limit``
        seconds, if a late rank gives no sign of life, or if rank 0 is gone, and the store with it.
        ``where`` is for these messages.
        """
        if self.size > 1:
            with self._watch.lock:
                try:
                    self._wait(where, limit)
                except (RuntimeError, ValueError):  # Paddle's, of the store
                    raise RankLost(
                        f"rank {self.rank} has lost the connection to rank 0 at {where}. See the "
                        "log of rank 0; --resume auto continues from the newest checkpoint"
                    ) from None

    def _wait(self, where: str, limit: float) -> None:
        World.barriers += 1
        if World.barriers <= 2:  # at the second, every rank has connected to the store
            disable_nagle()
        store = self._store
        store.add(f"met/{self.rank}", 1)
        arrived = store.add("met", 1)
        began, report, look = time.monotonic(), PATIENCE, LOOK
        silence = Silence(store)
        while arrived < World.barriers * self.size:
            waited = time.monotonic() - began
            if waited > look:
                look = waited + LOOK
                if lost := silence.lost(self._missing()):
                    raise RankLost(self._lost(waited, where, lost, "give no sign of life"))
            if waited > min(report, limit):
                missing = self._missing()
                if waited > limit:
                    raise RankLost(self._lost(waited, where, missing, "hang or have exited"))
                ranks = ", ".join(map(str, missing))
                log.warning("rank %d waits at %s for rank(s) %s", self.rank, where, ranks)
                report *= 3
            time.sleep(_pause(waited))
            arrived = store.add("met", 0)
        self._leave(World.barriers * (self.size - 1))

    def _leave(self, left: int) -> None:
        """Leaves a barrier, rank 0 after all others: if it ends then, so does the store.

        ``left``: how often the others have left barriers then. One that dies is not waited for
        long; nor is one that has raised RankLost in an earlier barrier, which it leaves with this.
        """
        if self.rank:
            self._store.add("left", World.barriers - World.left)
            World.left = World.barriers
            return
        began, waited = time.monotonic(), 0.0
        while self._store.add("left", 0) < left and waited < LEAVE:
            waited = time.monotonic() - began
            time.sleep(_pause(waited))

    def _missing(self) -> list[int]:
        """Returns the ranks that have not reached this barrier."""
        others = (rank for rank in range(self.size) if rank != self.rank)
        return [r for r in others if self._store.add(f"met/{r}", 0) < World.barriers]

    def _lost(self, waited: float, where: str, ranks: Sequence[int], why: str) -> str:
        return (
            f"rank {self.rank} has waited {waited:.0f} s at {where} for rank(s) "
            f"{', '.join(map(str, ranks))}, which {why}. See their logs; --resume auto continues "
            "from the newest checkpoint"
        )

    @contextmanager
    def watched(self, where: str) -> Iterator[None]:
        """Returns a context that warns with each rank's location if a rank stays in it for long."""
        if self.size == 1:
            yield
            return
        self._watch.begin(where)
        try:
            yield
        finally:
            self._watch.end()

    def wrap(self, model: nn.Layer) -> nn.Layer:
        """Returns the model to call in training; it averages gradients over ranks."""
        if self.fleet:
            return dist.fleet.distributed_model(model)
        return model if self.size == 1 else paddle.DataParallel(model)

    def wrap_optimizer(self, optimizer: Any) -> Any:
        """Returns the optimizer, with Fleet or sharding if that is set."""
        if self.sharding:
            return ShardedOptimizer(optimizer, self.rank, self.size)
        return dist.fleet.distributed_optimizer(optimizer) if self.fleet else optimizer

    def collect(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the optimizer's whole state on rank 0, given this rank's part of it.

        Call it on all ranks if the optimizer is sharded.
        """
        if not self.sharding:
            return dict(state)
        return collect(state, self.gather(description(state)), self.rank)

    def accumulate_only(self, model: nn.Layer, accumulating: bool) -> AbstractContextManager:
        """Returns a context in which gradients are not averaged if ``accumulating``."""
        return model.no_sync() if self.size > 1 and accumulating else nullcontext()


@cache
def _watch(rank: int, size: int) -> Watch:
    """Returns this process's watch, for all its runs: they share the connection to the store.

    The store is the launcher's, to which every rank connects at its first barrier.
    """
    return Watch(rank, size, paddle.base.core.create_or_get_global_tcp_store(), PATIENCE)


def disable_nagle() -> None:
    """Sets TCP_NODELAY on this process's connections to the store. Linux only.

    Paddle sends requests and answers in pieces. With Nagle's algorithm each piece waits 44 ms for
    an acknowledgement, and a barrier takes 130 ms instead of 0.5 ms.
    """
    port = os.environ.get("PADDLE_MASTER", "").rpartition(":")[2]
    if not port.isdecimal() or not os.path.isdir("/proc/self/fd"):
        return
    for name in os.listdir("/proc/self/fd"):
        # Of other kinds, socket.socket would fail and leave the copy open.
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                _disable_nagle_of(int(name), int(port))


def _disable_nagle_of(descriptor: int, port: int) -> None:
    """Sets TCP_NODELAY on a socket if ``port`` is one of its ends. Raises OSError."""
    with socket.socket(fileno=os.dup(descriptor)) as copy:
        is_tcp = copy.family in (socket.AF_INET, socket.AF_INET6)
        if is_tcp and port in (copy.getsockname()[1], copy.getpeername()[1]):
            copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
