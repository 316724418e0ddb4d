"""One thread that owns the model and answers searches in turn, from a bounded queue.

Paddle's kernels use all cores for one search, so searches at the same time would only share them.
"""

from __future__ import annotations

import asyncio
import logging
import math
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from paddlevideo.retrieval.milvus_server import IndexAway
from paddlevideo.serve import metrics as names
from paddlevideo.serve.folders import Folders
from paddlevideo.serve.metrics import Metrics
from paddlevideo.utils.errors import ConfigError, UserError

if TYPE_CHECKING:
    from paddlevideo.retrieval.model import RetrievalModel
    from paddlevideo.retrieval.search import ClipRanking, Progress, Searcher

log = logging.getLogger("paddlevideo")

#: Rankings in memory: "load more", going back and shared links need no model.
KEPT = 256
LONGEST_RETRY = 60  # seconds
#: Seconds between two questions to the server of the index: without a search, and while it is away.
CHECKED, AWAY = 5.0, 1.0
#: Seconds after which to try a search again while it is away.
RETRY_AWAY = 5
#: Of a search before the first one was timed.
FIRST_GUESS = 0.5


class Busy(Exception):
    """The search cannot be answered now; ``retry`` is in how many seconds it should be tried.

    ``kind``: what it is counted as.
    """

    def __init__(self, reason: str, retry: int, kind: str = names.INDEXING) -> None:
        super().__init__(reason)
        self.reason, self.retry, self.kind = reason, retry, kind


def _away() -> Busy:
    return Busy("the index does not answer", RETRY_AWAY, names.AWAY)


class _Abandoned(Exception):
    """No one waits for the result any more."""


@dataclass(frozen=True)
class SearchRequest:
    """What to search: a sentence, or a clip that others should be like.

    ``folder``: only clips of this folder and those below, "" for all. ``candidates``: the number
    of most similar clips to match; 0 ranks by similarity alone.
    """

    text: str = ""
    like: str = ""
    folder: str = ""
    candidates: int = 0


@dataclass(frozen=True)
class Found:
    """The ranking that answers a request, and a warning about words that are not known."""

    ranking: ClipRanking
    warning: str = ""


@dataclass
class _Job:
    request: SearchRequest
    future: Future[Found] = field(default_factory=Future)
    is_abandoned: bool = False
    asked: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Limits:
    """``waiting``: searches in the queue; ``seconds``: until a search is given up."""

    waiting: int = 64
    seconds: float = 30.0


class Engine:
    """Answers requests with the model of ``load`` and the searcher of ``open_searcher``.

    Both run in the engine's thread, because threads of Paddle have settings of their own.
    """

    def __init__(
        self,
        load: Callable[[], RetrievalModel],
        open_searcher: Callable[[RetrievalModel, Progress], Searcher],
        find_folders: Callable[[], Folders],
        limits: Limits | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """``find_folders``: called when the clips are indexed; what else takes time before the
        first search is done in it.
        """
        self._load, self._open, self._find_folders = load, open_searcher, find_folders
        self.limits, self.metrics = limits or Limits(), metrics or Metrics()
        self.metrics.watch(self)
        #: Clips that are indexed, and all of them, while the index is made.
        self.indexed = (0, 0)
        self.searcher: Searcher | None = None
        #: Whether the server of the index does not answer.
        self.is_away = False
        self.folders = Folders([])
        #: What made the engine end, once it was loaded.
        self.error: BaseException | None = None
        #: Called, in any thread, when the server has to end by an error.
        self.on_error: Callable[[], None] = lambda: None
        self._jobs: queue.Queue[_Job | None] = queue.Queue()
        self._waiting = 0
        self._seconds = FIRST_GUESS
        self._known: OrderedDict[SearchRequest, Found] = OrderedDict()
        self._closing = threading.Event()
        self._loaded: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    # --------------------------------------------------------------- for other threads

    @property
    def is_ready(self) -> bool:
        """Whether searches are answered."""
        return self.searcher is not None and not self.is_away

    @property
    def waiting(self) -> int:
        """The number of searches in the queue, with the one that is being answered."""
        return self._waiting

    def progress(self) -> tuple[int, int]:
        """Returns the number of clips that are indexed, and that of all."""
        if self.searcher is None:
            return self.indexed
        return len(self.searcher.clips), len(self.searcher.clips)

    def start(self) -> None:
        """Starts the thread, and returns when the model is loaded.

        Raises what loading raises.
        """
        self._thread.start()
        self._loaded.result()

    def close(self, seconds: float = 10.0) -> None:
        """Ends the thread after the batch of clips that it is reading or matching."""
        self._closing.set()
        self._jobs.put(None)
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def fail(self, error: BaseException) -> None:
        """Lets the server end by an error after which no search can be answered."""
        self.error = error
        self.on_error()

    async def search(self, request: SearchRequest) -> Found:
        """Returns the answer to a request. The event loop's thread must call it.

        Raises Busy if the index is not ready or away, the queue is full, or the answer takes too
        long; UserError for a request that the searcher refuses.
        """
        if self.searcher is None:
            raise Busy("the clips are being read; searches start soon", 2)
        if (known := self._known.get(request)) is not None:
            self.metrics.search(names.CACHE)
            return known
        if self.is_away:
            raise _away()
        expected = self._seconds * (self._waiting + 1)
        if self._waiting >= self.limits.waiting or expected > self.limits.seconds:
            raise Busy(f"{self._waiting} searches are waiting", self._retry(), names.QUEUE)
        job = _Job(request)
        self._waiting += 1
        self._jobs.put(job)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job.future), self.limits.seconds)
        except (TimeoutError, asyncio.TimeoutError):
            late = f"the search took longer than {self.limits.seconds:g} s"
            log.warning("%s: set --seconds, or fewer --candidates", late)
            raise Busy(late, self._retry(), names.TIMEOUT) from None
        finally:
            job.is_abandoned = True
            self._waiting -= 1

    def _retry(self) -> int:
        """Returns in how many seconds the queue will be half as long."""
        return min(max(math.ceil(self._seconds * self._waiting / 2), 1), LONGEST_RETRY)

    # ----------------------------------------------------------------- the thread itself

    def _run(self) -> None:
        try:
            model = self._load()
        except BaseException as error:
            self._loaded.set_exception(error)
            return
        self._loaded.set_result(None)
        try:
            searcher = self._open(model, self._progress)
            self.folders = self._find_folders()
            self.searcher = searcher
            while (job := self._next()) is not None and not self._closing.is_set():
                self._answer(job)
        except _Abandoned:
            pass
        except BaseException as error:
            self.fail(error)

    def _next(self) -> _Job | None:
        """Returns the next job; until there is one, watches the server of the index."""
        while True:
            with suppress(queue.Empty):
                return self._jobs.get(timeout=AWAY if self.is_away else CHECKED)
            assert self.searcher is not None
            try:
                self.searcher.check_index()
            except IndexAway as error:
                self._note_away(error)
            else:
                if self.is_away:
                    log.info("the index answers again")
                self.is_away = False

    def _note_away(self, error: IndexAway) -> None:
        """Refuses searches until the server of the index answers; tells it once."""
        if not self.is_away:
            log.warning("searches are refused until the index answers: %s", error)
        self.is_away = True

    def _progress(self, clips: int, total: int) -> None:
        self.indexed = (clips, total)
        if self._closing.is_set():
            raise _Abandoned

    def _answer(self, job: _Job) -> None:
        """Answers a job; an error of its request is that of the one who waits."""
        if job.is_abandoned:
            return
        try:
            known = self._known.get(job.request)
            found = known or self._timed(job)
        except _Abandoned:
            return
        except Exception as error:
            is_mistake = isinstance(error, ConfigError)
            self.metrics.search(names.MISTAKE if is_mistake else names.ERROR)
            if isinstance(error, IndexAway):
                self._note_away(error)  # visitors are not told the address
                error = _away()
            elif not isinstance(error, UserError):  # without the sentence, which is its user's
                log.exception("a search failed, with %d candidates", job.request.candidates)
            with suppress(InvalidStateError):  # given up meanwhile
                job.future.set_exception(error)
            return
        self.metrics.search(names.CACHE if known else names.MODEL)
        self._known[job.request] = found
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        with suppress(InvalidStateError):
            job.future.set_result(found)

    def _timed(self, job: _Job) -> Found:
        start = time.perf_counter()
        begun: list[float] = []  # when its clips were matched
        found = self._find(job, begun)
        end = time.perf_counter()
        self._seconds += 0.2 * (end - start - self._seconds)
        matching = begun[0] if begun else end
        self.metrics.stage(names.WAITING, start - job.asked)
        self.metrics.stage(names.SIMILARITY, matching - start)
        if begun:
            self.metrics.stage(names.MATCHING, end - matching)
        return found

    def _find(self, job: _Job, begun: list[float]) -> Found:
        def proceed() -> None:
            if job.is_abandoned or self._closing.is_set():
                raise _Abandoned
            if not begun:
                begun.append(time.perf_counter())

        assert self.searcher is not None
        request = job.request
        among = self.folders.mask(request.folder) if request.folder else None
        if request.like:
            return Found(self.searcher.rank_like(request.like, among))
        try:
            unknown = self.searcher.model.check(request.text)
        except ConfigError:  # its advice is for those who train
            raise ConfigError("The model knows none of these words; try others.") from None
        warning = "The model does not know some of these words." if unknown else ""
        ranking = self.searcher.rank(request.text, among, request.candidates, proceed=proceed)
        return Found(ranking, warning)
