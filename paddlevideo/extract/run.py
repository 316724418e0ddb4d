"""Extracts a list of videos into a store: what is missing is done, the rest checked."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

from paddlevideo.extract.output import ExtractedStore
from paddlevideo.extract.totals import Totals
from paddlevideo.extract.videos import Video, each_row, read_videos
from paddlevideo.extract.work import DONE, FAILED, ExtractOptions, Status, part_of
from paddlevideo.extract.worker import Workers
from paddlevideo.files.paths import refuse_not_utf8
from paddlevideo.files.walk import refuse_inside
from paddlevideo.files.whole import write_text_whole
from paddlevideo.files.writable import check_folder
from paddlevideo.loader.captions.files import kind_of
from paddlevideo.loader.store import is_store
from paddlevideo.prepare.caption_names import check_captions
from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.log import log_json, tell
from paddlevideo.utils.printable import Tally
from paddlevideo.utils.progress import track


def extract(options: ExtractOptions, totals: Totals | None = None) -> int:
    """Extracts this process's part; the last one to finish writes the store. Returns the exit code.

    1 where a video failed, else 0. ``totals``: counts what is finished. Raises UserError where
    nothing can be done at all.
    """
    index, count = part_of(options.part, os.environ)
    if options.ray and (options.part or count > 1):
        raise ConfigError(
            "--ray shares out all videos by itself: start the command once, without --part or a "
            "launcher"
        )
    _check_outputs(options)
    videos = read_videos(options.videos, print, options.base)
    # What cannot be read, or fits no video, is reported now, not when all videos are done.
    for path in options.captions:
        kind_of(path)
    check_captions(options.captions, [(row.clip, video.name) for video, row in each_row(videos)])
    with _workers(options) as workers:
        for note in workers.ready.notes:
            print(note)
        store = ExtractedStore(workers, videos)
        store.existing()
        prefix = f"part {index + 1} of {count}: " if count > 1 else ""
        mine = _process(videos[index::count], workers, prefix, totals or Totals())
    statuses = [workers.work.status(video.id, workers.fingerprint(video)) for video in videos]
    known = [status for status in statuses if status is not None]
    if len(known) < len(videos):
        print(f"{len(videos) - len(known)} videos are still with other processes: no store yet")
        return _exit_code(mine)
    path = options.output.with_name(options.output.name + ".status.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_whole(path, "".join(status.line() + "\n" for status in known))
    for line in store.write(known):
        tell("store", line, store=str(options.output))
    return _exit_code(known)


def _workers(options: ExtractOptions) -> Workers:
    if not options.ray:
        return Workers(options)
    from paddlevideo.extract.cluster.workers import RayWorkers

    return RayWorkers(options)


def _check_outputs(options: ExtractOptions) -> None:
    """Raises ConfigError for outputs inside of the folder of videos, or that cannot be written."""
    refuse_not_utf8("--output", options.output)
    check_folder(options.draw, "--draw")
    outputs = {"--output": options.output, "--work": options.work_folder, "--draw": options.draw}
    for flag, path in outputs.items():
        if path is not None and not is_store(options.output):
            refuse_inside(flag, path, options.videos)


def _process(
    videos: Sequence[Video], workers: Workers, prefix: str, totals: Totals
) -> list[Status]:
    """Extracts the videos that are missing, draws those that are done, and prints a summary."""
    started = time.perf_counter()
    work = workers.work
    known = {video.id: work.checked(video.id, workers.fingerprint(video)) for video in videos}
    statuses = {name: status for name, status in known.items() if status is not None}
    missing = [video for video in videos if video.id not in statuses]
    for video in missing:
        work.forget(video.id)  # a failure of a run before is not a status of this one
    totals.begin(len(missing), workers.alive)
    for video, status in track(workers.extract(missing), "videos", len(missing), unit="videos"):
        statuses[video.id] = status
        totals.add(status)
        _tell(status)
    seconds = time.perf_counter() - started
    _draw([video for video in videos if statuses[video.id].status == DONE], workers)
    mine = [statuses[video.id] for video in videos]
    _print_summary(mine, len(mine) - len(missing), prefix)
    if missing:
        _print_speed([statuses[video.id] for video in missing], seconds)
    return mine


def _tell(status: Status) -> None:
    """Prints the result of a video: a failure, and in JSON each."""
    names = ("video", "status", "cause", "frames", "seconds", "decode_seconds")
    fields = {**{name: getattr(status, name) for name in names}, "clips": len(status.clips)}
    if status.status == FAILED:
        tell("video", f"{status.video}: failed: {status.reason}", warns=True, **fields)
    else:
        log_json("video", f"{status.video}: done", **fields)


def _draw(videos: Sequence[Video], workers: Workers) -> None:
    """Draws videos that are done, if that is asked for."""
    if workers.options.draw is None:
        return
    for video, reason in track(workers.draw(videos), "pictures", len(videos), unit="videos"):
        if reason:
            tell("drawing", f"{video.id}: not drawn: {reason}", warns=True, video=video.id)


def _print_summary(statuses: Sequence[Status], before: int, prefix: str) -> None:
    """Prints the results of this process; ``before``: the number of earlier ones."""
    done = [status for status in statuses if status.status == DONE]
    again = f", {before} of them by a run before, checked" if before else ""
    failed = len(statuses) - len(done)
    causes: dict[str, Tally] = defaultdict(Tally)
    remarks: dict[str, Tally] = defaultdict(Tally)
    for status in statuses:
        if status.status == FAILED:
            causes[status.cause].add(status.video)
    for status in done:
        for name in status.without_regions:
            remarks["no region found: the whole frame is used"].add(name)
        for name in status.outside:
            remarks["left out, they begin after their video's end"].add(name)
        for note in status.notes:
            remarks[note].add(status.video)
    text = f"{prefix}videos: {len(done)} done{again}, {failed} failed"
    counts = {cause: tally.count for cause, tally in causes.items()}
    tell("summary", text, done=len(done), before=before, failed=failed, causes=counts)
    _print_tallies(causes)
    clips = sum(len(status.clips) for status in done)
    tell("clips", f"clips: {clips}", clips=clips)
    _print_tallies(remarks)


def _print_tallies(tallies: Mapping[str, Tally]) -> None:
    for text, tally in tallies.items():
        print(f"  {text}: {tally}")


def _print_speed(new: Sequence[Status], elapsed: float) -> None:
    frames = sum(status.frames for status in new)
    seconds = sum(status.seconds for status in new)
    share = sum(status.decode_seconds for status in new) / seconds if seconds else 0.0
    tell(
        "speed",
        f"{len(new)} videos of {frames:,} frames in {elapsed:.1f} s: "
        f"{frames / max(elapsed, 1e-6):,.0f} frames/s, "
        f"{frames / max(seconds, 1e-6):,.0f} in each process, {share:.0%} of the time decoding",
        videos=len(new),
        frames=frames,
        seconds=elapsed,
        decoding=share,
    )


def _exit_code(statuses: Sequence[Status]) -> int:
    return int(any(status.status == FAILED for status in statuses))
