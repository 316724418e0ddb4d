"""Extracts a list of videos into a store: what is missing is done, the rest checked."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paddlevideo.extract.output import StoreRequest, find_existing, write_statuses, write_store
from paddlevideo.extract.videos import Video, each_row, read_videos
from paddlevideo.extract.work import DONE, FAILED, ExtractOptions, Status, WorkFolder, part_of
from paddlevideo.extract.worker import Workers
from paddlevideo.files.paths import refuse_not_utf8
from paddlevideo.files.walk import refuse_inside
from paddlevideo.files.writable import check_folder
from paddlevideo.loader.captions.files import kind_of
from paddlevideo.loader.store import is_store
from paddlevideo.prepare.caption_names import check_captions
from paddlevideo.utils.printable import Tally
from paddlevideo.utils.progress import track


@dataclass
class _Run:
    """What this process did."""

    mine: list[Status]
    new: list[Status]
    seconds: float


def extract(options: ExtractOptions) -> int:
    """Extracts this process's part; the last one to finish writes the store. Returns the exit code.

    1 where a video failed, else 0. Raises UserError where nothing can be done at all.
    """
    index, count = part_of(options.part, os.environ)
    _check_outputs(options)
    videos = read_videos(options.videos, print)
    # What cannot be read, or fits no video, is reported now, not when all videos are done.
    for path in options.captions:
        kind_of(path)
    check_captions(options.captions, [(row.clip, video.name) for video, row in each_row(videos)])
    with Workers(options) as workers:
        wanted = StoreRequest(options, workers.ready.description, workers.ready.vocabularies)
        request = wanted.request(videos)
        find_existing(wanted, request, options.work_folder)
        run = _process(videos[index::count], workers)
    _print_summary(run, f"part {index + 1} of {count}: " if count > 1 else "")
    work = workers.work
    statuses = [work.status(video.id, workers.fingerprint(video)) for video in videos]
    known = [status for status in statuses if status is not None]
    if len(known) < len(videos):
        print(f"{len(videos) - len(known)} videos are still with other processes: no store yet")
        return _exit_code(run.mine)
    _finish(wanted, request, videos, known, work)
    return _exit_code(known)


def _check_outputs(options: ExtractOptions) -> None:
    """Raises ConfigError for outputs inside of the folder of videos, or that cannot be written."""
    refuse_not_utf8("--output", options.output)
    check_folder(options.draw, "--draw")
    outputs = {"--output": options.output, "--work": options.work_folder, "--draw": options.draw}
    for flag, path in outputs.items():
        if path is not None and not is_store(options.output):
            refuse_inside(flag, path, options.videos)


def _process(videos: Sequence[Video], workers: Workers) -> _Run:
    """Extracts the videos that a run before has not, and draws those that are done."""
    started = time.perf_counter()
    work = workers.work
    statuses = {video.id: work.checked(video.id, workers.fingerprint(video)) for video in videos}
    missing = [video for video in videos if statuses[video.id] is None]
    for video in missing:
        work.forget(video.id)  # a failure of a run before is not a status of this one
    for video, status in track(workers.extract(missing), "videos", len(missing), unit="videos"):
        statuses[video.id] = status
        if status.status == FAILED:
            print(f"{video.id}: failed: {status.reason}", file=sys.stderr)
    seconds = time.perf_counter() - started
    mine = {name: status for name, status in statuses.items() if status is not None}
    if workers.options.draw is not None:
        done = [video for video in videos if mine[video.id].status == DONE]
        for video, reason in track(workers.draw(done), "pictures", len(done), unit="videos"):
            if reason:
                print(f"{video.id}: not drawn: {reason}", file=sys.stderr)
    new = [mine[video.id] for video in missing]
    return _Run(list(mine.values()), new, seconds)


def _finish(
    wanted: StoreRequest,
    request: Mapping[str, object],
    videos: Sequence[Video],
    statuses: Sequence[Status],
    work: WorkFolder,
) -> None:
    """Writes the list of statuses, and the store if any video is done."""
    path = wanted.path
    write_statuses(path.with_name(path.name + ".status.jsonl"), statuses)
    if any(status.status == DONE for status in statuses):
        print("\n".join(write_store(wanted, request, videos, statuses, work)))
    else:
        print(f"{path}: not written: no video could be used")


def _print_summary(run: _Run, prefix: str) -> None:
    """Prints what this process did."""
    done = [status for status in run.mine if status.status == DONE]
    known = len(run.mine) - len(run.new)
    again = f", {known} of them by a run before, checked" if known else ""
    print(f"{prefix}videos: {len(done)} done{again}, {len(run.mine) - len(done)} failed")
    for cause, tally in _causes(run.mine).items():
        print(f"  {cause}: {tally}")
    print(f"clips: {sum(len(status.clips) for status in done)}")
    for remark, tally in _remarks(done).items():
        print(f"  {remark}: {tally}")
    if run.new:
        _print_speed(run)


def _remarks(done: Sequence[Status]) -> dict[str, Tally]:
    """Returns remarks about videos that are done."""
    remarks: dict[str, Tally] = {}
    for status in done:
        for name in status.without_regions:
            remarks.setdefault("no region found: the whole frame is used", Tally()).add(name)
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


def _print_speed(run: _Run) -> None:
    frames = sum(status.frames for status in run.new)
    seconds = sum(status.seconds for status in run.new)
    decoding = sum(status.decode_seconds for status in run.new)
    share = decoding / seconds if seconds else 0.0
    print(
        f"{len(run.new)} videos of {frames:,} frames in {run.seconds:.1f} s: "
        f"{frames / max(run.seconds, 1e-6):,.0f} frames/s, {share:.0%} of the time decoding"
    )


def _exit_code(statuses: Sequence[Status]) -> int:
    return int(any(status.status == FAILED for status in statuses))
