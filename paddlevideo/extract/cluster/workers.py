"""The processes of a Ray cluster in place of those of one machine."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from paddlevideo.extract.cluster import link
from paddlevideo.extract.cluster.messages import Event, Expected, Task
from paddlevideo.extract.settings import load_settings, portable
from paddlevideo.extract.videos import Video
from paddlevideo.extract.work import ExtractOptions
from paddlevideo.extract.worker import Crash, Workers, cores
from paddlevideo.files.paths import as_text
from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.isolated import Crash as LinkLost
from paddlevideo.utils.isolated import Isolated

#: Seconds for the port of a cluster, for a connection to it or the start of a local one, for a sign
#: of life afterwards, and for the end.
PORT, CONNECTION, ANSWER, END = 5.0, 60.0, 120.0, 10.0
#: The number of videos that every machine must have before any work.
SAMPLES = 3
#: Characters of a folder in which Ray can make sockets.
LONGEST = 40


class RayWorkers(Workers):
    """Extracts on a cluster, or in a local Ray; loads and draws as ``Workers``, on this machine.

    Raises ConfigError where the address is none or nothing answers there, and ModuleNotFoundError
    without Ray.
    """

    def __init__(self, options: ExtractOptions) -> None:
        _check_address(options.ray)
        super().__init__(options)

    def _ask(self, request: str, videos: Sequence[Video]) -> Iterator[tuple[Video, Any]]:
        if request != "extract" or not videos:
            yield from super()._ask(request, videos)
            return
        for worker in self._workers:
            worker.stop()  # its networks take memory
        for event in _events(self._task(videos)):
            for line in event.lines:
                print(line, file=sys.stderr)
            if event.video is None:
                continue
            video, answer = videos[event.video], event.answer
            if answer is None or isinstance(answer, Crash):
                yield video, answer
                continue
            status, records = answer
            status.path = as_text(str(video.path))  # as the list names it
            self.work.save(status, records)
            yield video, status

    def _task(self, given: Sequence[Video]) -> Task:
        settings = portable(load_settings(self.options.config, self.options.overrides))
        videos = [replace(video, path=Path(os.path.abspath(video.path))) for video in given]
        files = [video for video in videos if video.path.is_file()]
        samples = [
            (video, self.fingerprint(video)) for video in files[:: max(1, len(files) // SAMPLES)]
        ]
        return Task(self.options, settings, Expected(self.ready, samples), videos)


def _check_address(address: str) -> None:
    if importlib.util.find_spec("ray") is None:
        raise ModuleNotFoundError("No module named 'ray'", name="ray")
    match = re.fullmatch(r"(?:ray://)?\[?(.+?)\]?:(\d{1,5})", address)
    if address in (link.LOCAL, "auto"):
        return
    if not match:
        raise ConfigError(f'--ray is local, auto, HOST:PORT or ray://HOST:PORT, not "{address}"')
    try:
        socket.create_connection((match[1], int(match[2])), PORT).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"--ray {address}: nothing answers there ({error}). Start a cluster with ray start "
            "--head, which prints its address, or use --ray local"
        ) from None


def _events(task: Task) -> Iterator[Event]:
    """Yields what happens on the cluster; a local one ends with the iterator."""
    address = task.options.ray
    short = None if len(tempfile.gettempdir()) <= LONGEST else "/tmp"
    folder = tempfile.mkdtemp(prefix="paddlevideo-ray-", dir=short) if address == link.LOCAL else ""
    process = Isolated(CONNECTION, END)
    try:
        try:
            process.call(link.connect, address, cores(), folder)
        except LinkLost:
            raise ConfigError(
                f"--ray {address}: Ray gave no answer in {CONNECTION:.0f} s. Does ray status show "
                "a cluster of the same Ray and Python?"
            ) from None
        process.seconds = ANSWER
        process.call(link.begin, task)
        while (event := process.call(link.advance)) is not None:
            yield event
    except LinkLost:
        raise link.gone(address) from None
    finally:
        process.close()
        shutil.rmtree(folder, ignore_errors=True)
