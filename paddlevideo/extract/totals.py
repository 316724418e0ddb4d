"""Numbers of a running extraction, for Prometheus."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import paddlevideo
from paddlevideo.extract.work import DONE, FAILED, Status
from paddlevideo.extract.worker import CRASHED
from paddlevideo.files.writable import check_file
from paddlevideo.utils.metrics import answering

if TYPE_CHECKING:
    from prometheus_client import Metric


class Totals:
    """Sums over the videos that this run has finished; a collector for Prometheus."""

    def __init__(self) -> None:
        #: By status and cause. Known from the start, so that a first crash is an increase.
        self.videos: Counter[tuple[str, str]] = Counter({(DONE, ""): 0, (FAILED, CRASHED): 0})
        self.frames = self.clips = self.left = 0
        #: All of it, and the part that was spent in decoders; processes add up.
        self.seconds = self.decode_seconds = 0.0
        self.workers: Callable[[], int] = lambda: 0
        #: When the last video was finished, as ``time.time()``; at first when the run began.
        self.last = time.time()

    def begin(self, videos: int, workers: Callable[[], int]) -> None:
        """Sets what is to be done. ``workers``: returns the number of processes."""
        self.left, self.workers, self.last = videos, workers, time.time()

    def add(self, status: Status) -> None:
        """Adds a video that was finished."""
        self.videos[status.status, status.cause] += 1
        self.frames += status.frames
        self.clips += len(status.clips)
        self.seconds += status.seconds
        self.decode_seconds += status.decode_seconds
        self.left -= 1
        self.last = time.time()

    def collect(self) -> Iterator[Metric]:
        """Yields the numbers; the thread that answers Prometheus calls it."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            InfoMetricFamily,
        )

        videos = CounterMetricFamily(
            "paddlevideo_extract_videos", "Videos finished by this run.", labels=("status", "cause")
        )
        for labels, count in list(self.videos.items()):
            videos.add_metric(labels, count)
        seconds = CounterMetricFamily(
            "paddlevideo_extract_seconds", "Seconds spent on finished videos.", labels=("stage",)
        )
        seconds.add_metric(["decoding"], self.decode_seconds)
        seconds.add_metric(["features"], max(self.seconds - self.decode_seconds, 0.0))
        yield from (videos, seconds)
        yield CounterMetricFamily(
            "paddlevideo_extract_frames", "Frames decoded.", value=self.frames
        )
        yield CounterMetricFamily("paddlevideo_extract_clips", "Clips extracted.", value=self.clips)
        yield GaugeMetricFamily("paddlevideo_extract_videos_left", "Videos to do.", value=self.left)
        yield GaugeMetricFamily(
            "paddlevideo_extract_workers", "Worker processes.", value=self.workers()
        )
        yield GaugeMetricFamily(
            "paddlevideo_extract_last_video_timestamp_seconds",
            "When the last video was finished, or the first one begun.",
            value=self.last,
        )
        version = {"version": paddlevideo.__version__}
        yield InfoMetricFamily("paddlevideo_build", "What runs here.", value=version)


@contextmanager
def totals_at(host: str, port: int | None, file: Path | None = None) -> Iterator[Totals]:
    """Context that gives totals; with a port it answers Prometheus with them.

    ``file``: where they are written in the end, however the run ends. Raises ConfigError if the
    address or the file cannot be used.
    """
    totals = Totals()
    if port is None and file is None:
        yield totals
        return
    from prometheus_client import ProcessCollector

    # Workers are forked later: the thread that answers must import nothing then.
    from prometheus_client.core import CollectorRegistry

    check_file(file, "--metrics_file")
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(totals)
    with answering(registry, host, port):
        try:
            yield totals
        finally:
            if file is not None:
                _write(file, totals)


def _write(file: Path, totals: Totals) -> None:
    """Writes totals for node_exporter, whose own file may not have those of a process."""
    from prometheus_client import CollectorRegistry, write_to_textfile

    registry = CollectorRegistry()
    registry.register(totals)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_to_textfile(str(file), registry)
