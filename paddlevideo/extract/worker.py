"""Processes for decoders and networks: a crash costs one video, not the run."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any

from paddlevideo.extract.container import conversion
from paddlevideo.extract.extractor import Extractor
from paddlevideo.extract.job import Job, fingerprint_of
from paddlevideo.extract.schema import Settings
from paddlevideo.extract.settings import load_settings
from paddlevideo.extract.videos import Video
from paddlevideo.extract.work import FAILED, ExtractOptions, Status, WorkFolder, part_of
from paddlevideo.files.paths import as_text
from paddlevideo.utils.errors import ConfigError, UserError
from paddlevideo.utils.opencv import cv2

#: Seconds for a worker to end by itself.
GRACE = 2.0
CRASHED = "crashed"


@dataclass(frozen=True)
class Ready:
    """What a worker reports once its networks are loaded and tried."""

    #: Changes with the settings and the models.
    fingerprint: str
    description: dict[str, Any]
    vocabularies: dict[str, list[str]]
    has_networks: bool
    #: What was guessed about networks.
    notes: list[str]


class Crash(Exception):
    """The worker ended without an answer; the message says how."""


class Workers:
    """Child processes that do one video at a time each; a new one takes over where one crashes.

    ``ready`` describes their networks. They share nothing but the work folder, so that the results
    do not depend on their number. Raises ConfigError where the networks cannot be loaded.
    """

    def __init__(self, options: ExtractOptions) -> None:
        self.options, self.work = options, WorkFolder(options.work_folder)
        self._workers = [Worker(options)]
        with self._stopping_on_error():
            self.ready = self._workers[0].start([])

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers:
            worker.stop()

    def alive(self) -> int:
        """Returns the number of processes that are running, as far as is known."""
        return sum(worker.process is not None for worker in self._workers)

    def fingerprint(self, video: Video) -> str:
        """Returns what changes with the settings, the models, the file and its clips."""
        return fingerprint_of(video, self.ready.fingerprint)

    def extract(self, videos: Sequence[Video]) -> Iterator[tuple[Video, Status]]:
        """Yields each video with its status once its clips are in the work folder.

        Raises DataError where the disk is full.
        """
        for video, answer in self._ask("extract", videos):
            if isinstance(answer, Crash):
                path = as_text(str(video.path))
                reason = f"{path}: its decoder or a network {answer}. {conversion(path)}"
                answer = Status(video.id, path, FAILED, CRASHED, reason)
                answer.fingerprint = self.fingerprint(video)
                self.work.save(answer, [])
            yield video, answer

    def draw(self, videos: Sequence[Video]) -> Iterator[tuple[Video, str]]:
        """Draws videos that are done; yields each with an error message, empty if there is none."""
        for video, answer in self._ask("draw", videos):
            yield video, f"its decoder {answer}" if isinstance(answer, Crash) else answer

    def count(self) -> int:
        """Returns the number of processes: by default one a core, or one where networks are used.

        A network uses several threads and much memory; a launcher's processes share the cores.
        """
        given = self.options.workers
        if given is None:
            is_alone = part_of(self.options.part, os.environ)[1] == 1
            given = 0 if is_alone and not self.ready.has_networks else 1
        return given or cores()

    def _ask(self, request: str, videos: Sequence[Video]) -> Iterator[tuple[Video, Any]]:
        """Yields each video with the answer to a request, or a Crash, as they are done."""
        missing = min(self.count(), len(videos)) - len(self._workers)
        self._workers += [Worker(self.options) for _ in range(missing)]
        idle, waiting = list(self._workers), iter(videos)
        busy: dict[Worker, Video] = {}
        with self._stopping_on_error():
            while True:
                for video in islice(waiting, len(idle)):
                    worker = idle.pop()
                    if worker.process is None:
                        worker.start(self._workers)
                    worker.send((request, video))
                    busy[worker] = video
                if not busy:
                    return
                ready = wait([worker.pipe for worker in busy])
                for worker in [each for each in busy if each.pipe in ready]:
                    video = busy.pop(worker)
                    try:
                        answer = worker.receive()
                    except Crash as crash:
                        answer = crash
                    idle.append(worker)
                    yield video, answer

    @contextmanager
    def _stopping_on_error(self) -> Iterator[None]:
        try:
            yield
        except Crash as crash:
            self.__exit__()
            raise ConfigError(f"the networks, tried on a blank frame, {crash}") from None
        except BaseException:  # also Ctrl-C, and a caller that stops listening
            self.__exit__()
            raise


class Worker:
    """One child process, and the pipe to it. ``settings``: None: those of the options' YAML."""

    def __init__(self, options: ExtractOptions, settings: Settings | None = None) -> None:
        self.options, self.settings = options, settings
        self.process: multiprocessing.process.BaseProcess | None = None

    def start(self, others: Iterable[Worker]) -> Ready:
        """Starts the process. Raises Crash where it ends; the error of the networks as it is."""
        # A forked child has everything imported, and sees what a test or a notebook has patched.
        forks = "fork" in multiprocessing.get_all_start_methods() and not _must_spawn()
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # ends OpenCV's threads: a forked child would wait for them for ever
        context: Any = multiprocessing.get_context("fork" if forks else "spawn")
        self.pipe, other = context.Pipe()
        # A forked child must not keep the parent's ends open.
        ours = [self.pipe, *(each.pipe for each in others if each.process)] if forks else []
        arguments = (other, ours, self.options, self.settings)
        self.process = context.Process(target=_serve, args=arguments)
        self.process.daemon = True
        self.process.start()
        cv2.setNumThreads(threads)
        other.close()
        ready: Ready = self.receive()
        return ready

    def send(self, request: tuple[str, Video]) -> None:
        """Sends a request."""
        with suppress(OSError):  # a child that has just died is noticed by its answer
            self.pipe.send(request)

    def receive(self) -> Any:
        """Returns the answer, or raises the child's error; Crash where the child has ended."""
        try:
            error, value = self.pipe.recv()
        except (EOFError, OSError):
            raise Crash(_how_it_ended(self.stop())) from None
        if error is not None:
            raise error
        return value

    def stop(self) -> int | None:
        """Ends the child if it has not ended; returns its exit code."""
        process, self.process = self.process, None
        if process is None:
            return None
        self.pipe.close()  # an idle child takes it as the end
        process.join(GRACE / 4)
        for end in (process.terminate, process.kill):
            if process.is_alive():
                end()
                process.join(GRACE)
        return process.exitcode


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _must_spawn() -> bool:
    """Returns whether a forked child may fail: CUDA and Ray's threads do not survive a fork."""
    paddle, ray = sys.modules.get("paddle"), sys.modules.get("ray")
    has_cuda = paddle is not None and bool(paddle.is_compiled_with_cuda())
    return has_cuda or (ray is not None and bool(ray.is_initialized()))


def _how_it_ended(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended its process (exit code {code})"
    name = signal.Signals(-code).name
    more = ", as the system does where memory is short" if -code == signal.SIGKILL else ""
    return f"crashed ({name}{more})"


# ------------------------------------------------------------------------- in the child


def _serve(
    pipe: Connection,
    parents: Sequence[Connection],
    options: ExtractOptions,
    settings: Settings | None,
) -> None:
    """Loads the networks, then answers (error, value) to each request until the pipe is closed."""
    for end in parents:
        end.close()
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # a progress bar is the parent's
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this process
    signal.signal(signal.SIGTERM, _leave)
    sys.unraisablehook = _leave_anyway
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    jobs: list[Job] = []

    def load() -> Ready:
        cv2.setNumThreads(options.threads or (-1 if options.workers == 1 else 1))  # -1: it chooses
        given = settings or load_settings(options.config, options.overrides)
        extractor = Extractor(given, options.threads)
        jobs.append(Job(extractor, options.dtype))
        return Ready(
            extractor.fingerprint(options.dtype),
            extractor.description,
            extractor.vocabularies,
            extractor.has_networks,
            extractor.notes,
        )

    with suppress(EOFError, OSError):
        pipe.send(_answer_of(load))
        while jobs:
            request, video = pipe.recv()
            pipe.send(_answer_of(partial(REQUESTS[request], video, jobs[0], options)))


def _records(video: Video, job: Job, options: ExtractOptions) -> tuple[Status, list[bytes]]:
    return job.run(video)


def _extract(video: Video, job: Job, options: ExtractOptions) -> Status:
    status, records = job.run(video)
    WorkFolder(options.work_folder).save(status, records)
    return status


def _draw(video: Video, job: Job, options: ExtractOptions) -> str:
    from paddlevideo.extract.draw import draw_video

    assert options.draw is not None
    try:
        draw_video(video, WorkFolder(options.work_folder), options.draw, job.extractor.vocabularies)
    except (UserError, OSError, cv2.error) as error:
        return str(error)
    return ""


REQUESTS: dict[str, Callable[[Video, Job, ExtractOptions], Any]]
REQUESTS = {"records": _records, "extract": _extract, "draw": _draw}


def _answer_of(action: Callable[[], Any]) -> tuple[BaseException | None, Any]:
    try:
        return None, action()
    except (UserError, OSError, KeyboardInterrupt) as error:
        with suppress(Exception):
            pickle.loads(pickle.dumps(error))
            return error, None
        return RuntimeError(traceback.format_exc()), None
    except Exception:  # a bug: the parent ends with the child's traceback
        return RuntimeError(traceback.format_exc()), None


def _leave(signum: int, frame: object) -> None:
    sys.exit(128 + signum)


def _leave_anyway(ignored: Any) -> None:
    """Ends this process where Python ignores the exit, as in a generator that it is closing."""
    if isinstance(ignored.exc_value, SystemExit):
        os._exit(int(ignored.exc_value.code or 0))
    sys.__unraisablehook__(ignored)


def _leave_with_parent() -> None:
    """Ends this process when its parent is gone, however that died."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(128 + signal.SIGTERM)  # the main thread is inside of native code
