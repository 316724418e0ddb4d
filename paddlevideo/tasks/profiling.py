"""The option ``-p``: traces some training steps and tabulates their times by operator."""

from __future__ import annotations

import io
import logging
import re
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paddle

from paddlevideo.files.paths import expand_path, path_complaint
from paddlevideo.files.whole import write_text_whole
from paddlevideo.registry import did_you_mean
from paddlevideo.utils.errors import ConfigError

log = logging.getLogger("paddlevideo")

EXAMPLE = '-p "batch_range=[10,20];profile_path=profile"'
#: How the table may be sorted: PaddleVideo's names and Paddle's.
SORTED = {"total": "CPUTotal", "ave": "CPUAvg", "max": "CPUMax", "min": "CPUMin"}
#: The useful parts of Paddle's summary.
VIEWS = ("OverView", "OperatorView")
#: PaddleVideo's options that have no effect here.
ACCEPTED = ("tracer_option", "state", "exit_on_finished", "timer_only")


@dataclass(frozen=True)
class ProfilerOptions:
    """The options of ``-p``.

    ``start`` and ``stop``: steps of this process, from 0; ``stop`` is excluded. ``path``: the
    folder for trace and table. ``sorted_by``: how the table is sorted, one of Paddle's names.
    """

    start: int = 10
    stop: int = 20
    path: Path | None = None
    sorted_by: str = "CPUTotal"


def profiler_options(text: str) -> ProfilerOptions:
    """Parses options in PaddleVideo's syntax, ``key=value`` separated by ``;``.

    ``batch_range=[10,20]``, ``profile_path=DIR``, ``sorted_key=total``. Raises ConfigError for
    anything else.
    """
    given = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        key, equals, value = (side.strip() for side in part.partition("="))
        known = ("batch_range", "profile_path", "sorted_key", *ACCEPTED)
        if key not in known:
            advice = did_you_mean(key, known) or f" Known: {', '.join(known)}"
            raise ConfigError(f'-p: unknown profiler option "{key}".{advice}')
        if not equals or not value:
            raise ConfigError(f'-p: the option "{key}" has no value; expected {EXAMPLE}')
        given[key] = value
    start, stop = _batch_range(given.get("batch_range", "[10,20]"))
    order = given.get("sorted_key", "total")
    if order not in (*SORTED, "calls"):
        raise ConfigError(f'-p: sorted_key is "{order}"; expected {", ".join(SORTED)}')
    path = expand_path(given.get("profile_path", ""))
    if complaint := path_complaint(path):
        raise ConfigError(f"-p: profile_path: {complaint}")
    return ProfilerOptions(start, stop, Path(path) if path else None, SORTED.get(order, "CPUTotal"))


def _batch_range(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"\[?\s*(\d+)\s*,\s*(\d+)\s*\]?", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise ConfigError(
            f"-p: batch_range is {text}; expected two steps, the first one smaller, "
            "as in batch_range=[10,20]"
        )
    return int(match[1]), int(match[2])


class Profile:
    """Records the steps that the options select; without options, none."""

    def __init__(self, options: ProfilerOptions | None, folder: Path, rank: int = 0) -> None:
        """``folder``: where ``profile/`` is created, unless the options name another path."""
        self.options, self.rank, self.steps = options, rank, 0
        self._recorder: Any = None
        if options is None:
            return
        self.folder = options.path or folder / "profile"
        self._recorder = paddle.profiler.Profiler(
            scheduler=(options.start, options.stop),
            on_trace_ready=paddle.profiler.export_chrome_tracing(str(self.folder), f"rank{rank}"),
        )
        self._recorder.start()
        log.info("profiling steps %d to %d into %s", options.start, options.stop, self.folder)

    def step(self) -> None:
        """Marks the end of a step. Writes trace and table after the last step to record."""
        if self._recorder is None:
            return
        assert self.options is not None
        self.steps += 1
        self._recorder.step()
        if self.steps == self.options.stop:
            self._finish()

    def close(self) -> None:
        """Warns if the run had too few steps, and writes what was recorded."""
        if self._recorder is None:
            return
        assert self.options is not None
        start, stop = self.options.start, self.options.stop
        log.warning(
            "-p: steps %d to %d were requested, but the run had only %d", start, stop, self.steps
        )
        if self.steps > start:
            self._finish()
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Paddle warns about it too
            self._recorder.stop()
        self._recorder = None

    def _finish(self) -> None:
        """Writes the trace, and prints and writes the table."""
        assert self.options is not None
        recorder, self._recorder = self._recorder, None
        recorder.stop()
        views = [getattr(paddle.profiler.SummaryView, name) for name in VIEWS]
        order = getattr(paddle.profiler.SortedKeys, self.options.sorted_by)
        with redirect_stdout(io.StringIO()) as printed:
            recorder.summary(sorted_by=order, op_detail=False, views=views)
        table = printed.getvalue().strip() + "\n"
        path = self.folder / f"table_rank{self.rank}.txt"
        write_text_whole(path, table)
        log.info("profile of steps %d to %d:\n%s", self.options.start, self.steps, table)
        log.info("the trace and this table are in %s", self.folder)
