"""A list of videos from its beginning to its store: what is missing is done, the rest checked."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from paddlevideo.extract.output import Wanted, there_already, write_statuses, write_store
from paddlevideo.extract.videos import Video, each_row, read_videos
from paddlevideo.extract.work import DONE, FAILED, ExtractOptions, Status, WorkFolder
from paddlevideo.extract.worker import Worker
from paddlevideo.files.paths import refuse_not_utf8
from paddlevideo.files.walk import refuse_inside
from paddlevideo.files.writable import check_folder
from paddlevideo.loader.captions.files import kind_of
from paddlevideo.loader.store import is_store
from paddlevideo.prepare.caption_names import check_captions
from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.printable import Tally
from paddlevideo.utils.progress import track


@dataclass
class _Run:
    """What this process did."""

    mine: list[Status] = field(default_factory=list)
    new: list[Status] = field(default_factory=list)
    seconds: float = 0.0


def part_of(text: str, environment: Mapping[str, str]) -> tuple[int, int]:
    """``2/8`` as (1, 8): which of how many parts; without it the launcher's rank, else (0, 1).

    Raises ConfigError for anything else.
    """
    if text:
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise ConfigError(f'--part is K/N with K from 1 to N, as 2/8, not "{text}"')
        return int(found[1]) - 1, int(found[2])
    count = environment.get("PADDLE_TRAINERS_NUM") or "1"
    number = environment.get("PADDLE_TRAINER_ID") or ("0" if count == "1" else "")
    if not (number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise ConfigError(
            f"PADDLE_TRAINER_ID={number} and PADDLE_TRAINERS_NUM={count} are no part of a list: "
            "unset them, or give --part K/N"
        )
    return int(number), int(count)


def extract(options: ExtractOptions) -> int:
    """Does this process's part; the last process to finish writes the store. Returns the exit code.

    1 where a video failed, else 0. Raises UserError where nothing can be done at all.
    """
    number, count = part_of(options.part, os.environ)
    _refuse_places(options)
    videos = read_videos(options.videos, print)
    # What cannot be read, or fits no video, is told now, not when all videos are done.
    for path in options.captions:
        kind_of(path)
    check_captions(options.captions, [(row.clip, video.name) for video, row in each_row(videos)])
    with Worker(options) as worker:
        wanted = Wanted(options, worker.ready.description, worker.ready.vocabularies)
        request = wanted.request(videos)
        there_already(wanted, request, options.work_folder)
        run = _do(videos[number::count], worker)
    _say(run, f"part {number + 1} of {count}: " if count > 1 else "")
    work = worker.work
    statuses = [work.status(video.id, worker.fingerprint(video)) for video in videos]
    known = [status for status in statuses if status is not None]
    if len(known) < len(videos):
        print(f"{len(videos) - len(known)} videos are still with other processes: no store yet")
        return _code(run.mine)
    _finish(wanted, request, videos, known, work)
    return _code(known)


def _refuse_places(options: ExtractOptions) -> None:
    """Raises ConfigError for outputs inside the folder of videos, or that cannot be written."""
    refuse_not_utf8("--output", options.output)
    check_folder(options.draw, "--draw")
    outputs = {"--output": options.output, "--work": options.work_folder, "--draw": options.draw}
    for flag, path in outputs.items():
        if path is not None and not is_store(options.output):
            refuse_inside(flag, path, options.videos)


def _do(videos: Sequence[Video], worker: Worker) -> _Run:
    started = time.perf_counter()
    run, work = _Run(), worker.work
    checked = {video.id: work.checked(video.id, worker.fingerprint(video)) for video in videos}
    for video in videos:
        if checked[video.id] is None:
            work.forget(video.id)  # a failure of a run before is no status of this one
    for video in track(videos, "videos", len(videos), unit="videos"):
        status = checked[video.id]
        if status is None:
            status = worker.extract(video)
            run.new.append(status)
            if status.status == FAILED:
                print(f"{video.id}: failed: {status.reason}", file=sys.stderr)
        run.mine.append(status)
        is_drawn = worker.options.draw is not None and status.status == DONE
        if is_drawn and (fault := worker.draw(video)):
            print(f"{video.id}: not drawn: {fault}", file=sys.stderr)
    run.seconds = time.perf_counter() - started
    return run


def _finish(
    wanted: Wanted,
    request: Mapping[str, object],
    videos: Sequence[Video],
    statuses: Sequence[Status],
    work: WorkFolder,
) -> None:
    """The list of statuses, and the store where any video is done."""
    path = wanted.path
    write_statuses(path.with_name(path.name + ".status.jsonl"), statuses)
    if any(status.status == DONE for status in statuses):
        print("\n".join(write_store(wanted, request, videos, statuses, work)))
    else:
        print(f"{path}: not written: no video could be used")


def _say(run: _Run, before: str) -> None:
    """The summary of this process."""
    done = [status for status in run.mine if status.status == DONE]
    passed = len(run.mine) - len(run.new)
    again = f", {passed} of them by a run before, checked" if passed else ""
    print(f"{before}videos: {len(done)} done{again}, {len(run.mine) - len(done)} failed")
    for cause, tally in _causes(run.mine).items():
        print(f"  {cause}: {tally}")
    print(f"clips: {sum(len(status.clips) for status in done)}")
    for what, tally in _remarks(done).items():
        print(f"  {what}: {tally}")
    if run.new:
        _say_speed(run)


def _remarks(done: Sequence[Status]) -> dict[str, Tally]:
    """What is worth knowing of videos that are done."""
    remarks: dict[str, Tally] = {}
    for status in done:
        for name in status.without_regions:
            remarks.setdefault("no region found: the whole frame is theirs", Tally()).add(name)
        for name in status.outside:
            remarks.setdefault("left out, they begin after their video's end", Tally()).add(name)
        for note in status.notes:
            remarks.setdefault(note, Tally()).add(status.video)
    return remarks


def _causes(statuses: Sequence[Status]) -> dict[str, Tally]:
    causes: dict[str, Tally] = {}
    for status in statuses:
        if status.status == FAILED:
            causes.setdefault(status.cause, Tally()).add(status.video)
    return causes


def _say_speed(run: _Run) -> None:
    frames = sum(status.frames for status in run.new)
    seconds = sum(status.seconds for status in run.new)
    decoding = sum(status.decode_seconds for status in run.new)
    rate = frames / seconds if seconds else 0.0
    share = decoding / seconds if seconds else 0.0
    print(
        f"{len(run.new)} videos of {frames:,} frames in {seconds:.1f} s: {rate:,.0f} frames/s, "
        f"{share:.0%} of the time decoding; {run.seconds:.1f} s in all"
    )


def _code(statuses: Sequence[Status]) -> int:
    return int(any(status.status == FAILED for status in statuses))
