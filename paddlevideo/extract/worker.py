"""A separate process for decoders and networks: a crash costs one video, not the run."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from paddlevideo.extract.container import conversion
from paddlevideo.extract.extractor import Extractor
from paddlevideo.extract.job import Job, fingerprint_of
from paddlevideo.extract.settings import load_settings
from paddlevideo.extract.videos import Video
from paddlevideo.extract.work import FAILED, ExtractOptions, Status, WorkFolder
from paddlevideo.files.paths import as_text
from paddlevideo.utils.errors import ConfigError, UserError
from paddlevideo.utils.opencv import cv2

#: Seconds that a worker has to end by itself.
GRACE = 2.0
CRASHED = "crashed"


@dataclass(frozen=True)
class Ready:
    """What a worker says once its networks are loaded and tried."""

    #: Changes with the settings and the models.
    fingerprint: str
    description: dict[str, Any]
    vocabularies: dict[str, list[str]]


class Crash(Exception):
    """The worker ended without an answer; the message is how."""


class Worker:
    """A child process that does one video at a time; a new one takes over where it crashes.

    ``ready`` describes its networks. Raises ConfigError where they cannot be loaded.
    """

    def __init__(self, options: ExtractOptions) -> None:
        self.options, self.work = options, WorkFolder(options.work_folder)
        self.process: multiprocessing.process.BaseProcess | None = None
        try:
            self.ready = self._start()
        except BaseException:  # Ctrl-C
            self._stop()
            raise

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop()

    def fingerprint(self, video: Video) -> str:
        """Changes with the settings, the models, the file and what is asked for of it."""
        return fingerprint_of(video, self.ready.fingerprint)

    def extract(self, video: Video) -> Status:
        """Writes a video's clips and its status into the work folder.

        Raises DataError where the disk is full.
        """
        try:
            return self._ask("extract", video)
        except Crash as crash:
            path = as_text(str(video.path))
            reason = f"{path}: its decoder or a network {crash}. {conversion(path)}"
            status = Status(video.id, path, FAILED, CRASHED, reason)
            status.fingerprint = self.fingerprint(video)
            self.work.save(status, [])
            return status

    def draw(self, video: Video) -> str:
        """Draws a video that is done; returns what went wrong, if anything did."""
        try:
            return self._ask("draw", video)
        except Crash as crash:
            return f"its decoder {crash}"

    # ---------------------------------------------------------------- the other process

    def _start(self) -> Ready:
        # A forked child has everything imported, and sees what a test or a notebook has patched.
        forks = "fork" in multiprocessing.get_all_start_methods()
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # ends OpenCV's threads: a forked child would wait for them for ever
        context: Any = multiprocessing.get_context("fork" if forks else "spawn")
        self.pipe, other = context.Pipe()
        ours = self.pipe if forks else None  # the child must not keep it open
        self.process = context.Process(target=_serve, args=(other, ours, self.options))
        self.process.daemon = True
        self.process.start()
        cv2.setNumThreads(threads)
        other.close()
        try:
            return self._answer()
        except Crash as crash:
            raise ConfigError(f"the networks, tried on a blank frame, {crash}") from None

    def _ask(self, what: str, video: Video) -> Any:
        if self.process is None:
            self._start()
        with suppress(OSError):  # a child that has just died is noticed by its answer
            self.pipe.send((what, video))
        return self._answer()

    def _answer(self) -> Any:
        try:
            error, value = self.pipe.recv()
        except (EOFError, OSError):
            raise Crash(_how_it_ended(self._stop())) from None
        if error is not None:
            raise error
        return value

    def _stop(self) -> int | None:
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


def _how_it_ended(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended its process (exit code {code})"
    name = signal.Signals(-code).name
    more = ", as the system does where memory is short" if -code == signal.SIGKILL else ""
    return f"crashed ({name}{more})"


# ------------------------------------------------------------------------- in the child


def _serve(pipe: Connection, parents: Connection | None, options: ExtractOptions) -> None:
    """Loads the networks, then answers (error, value) to each request until the pipe is closed."""
    if parents is not None:
        parents.close()
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # a progress bar is the parent's
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this process
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    jobs: list[Job] = []

    def load() -> Ready:
        cv2.setNumThreads(options.threads or -1)  # -1: as OpenCV chooses
        extractor = Extractor(load_settings(options.config, options.overrides), options.threads)
        jobs.append(Job(extractor, options.dtype))
        return Ready(
            extractor.fingerprint(options.dtype), extractor.description, extractor.vocabularies
        )

    with suppress(EOFError, OSError):
        pipe.send(_answer_of(load))
        while jobs:
            what, video = pipe.recv()
            action = partial({"extract": _extract, "draw": _draw}[what], video, jobs[0], options)
            pipe.send(_answer_of(action))


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


def _answer_of(action: Callable[[], Any]) -> tuple[BaseException | None, Any]:
    try:
        return None, action()
    except (UserError, OSError, KeyboardInterrupt) as error:
        with suppress(Exception):
            pickle.loads(pickle.dumps(error))
            return error, None
        return RuntimeError(traceback.format_exc()), None
    except Exception:  # a mistake of ours: the parent ends with the child's traceback
        return RuntimeError(traceback.format_exc()), None


def _leave(number: int, frame: object) -> None:
    sys.exit(128 + number)


def _leave_with_parent() -> None:
    """Ends this process when its parent is gone, however that died."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(128 + signal.SIGTERM)  # the main thread is inside of native code
