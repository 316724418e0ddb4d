"""Divides the clips of a store into training, validation and test, video by video."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.loader.captions.matching import CLIP, ClipNames, videos_of
from paddlevideo.loader.clips.clip import non_blank
from paddlevideo.loader.selection import read_list
from paddlevideo.loader.store import FeatureStore
from paddlevideo.loader.store.split import (
    DRAWN,
    LISTED,
    UNUSED,
    SplitFile,
    abouts,
    check_videos,
    split_path,
    videos_by_clip,
)
from paddlevideo.registry import SPLITS
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.printable import printable, some

SHARE = 0.1


@dataclass(frozen=True)
class SplitOptions:
    """What to divide, and how; None: as before, or by default.

    ``shares`` and ``lists``: the share of the videos, or files of clips, for valid and test.
    ``by``: "video", or "clip" where each clip counts as a video. ``like``: a store whose split to
    begin with. ``overwrite``: forget the split that exists.
    """

    store: Path
    shares: Mapping[str, float | None] = field(default_factory=dict)
    lists: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    seed: int | None = None
    by: str | None = None
    like: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class _Clip:
    id: str
    video: str
    captions: int
    #: None: unknown, as the clip is a whole video.
    seconds: float | None


def split_store(options: SplitOptions) -> list[str]:
    """Writes the split of a store and returns lines to print: its path and a table of counts.

    Clips that a split has already stay where they are; new clips of their videos join them, and
    only other videos are divided. Raises ConfigError for settings that contradict each other or
    the existing split, and DataError for lists and stores that cannot be divided.
    """
    store, path = FeatureStore(options.store), split_path(options.store)
    before = _earlier(options, path)
    settings = _settings(options, before)
    clips = list(_clips(store, settings["by"]))
    _check_store(store, clips)
    sides = _assigned(before, clips)
    _add_listed(sides, options, clips)
    _draw(sides, settings, clips, store)
    names = {c.id: sides[c.video] if c.captions and c.video in sides else UNUSED for c in clips}
    lists = {name: [c.id for c in clips if names[c.id] == name] for name in (*SPLITS, UNUSED)}
    split = SplitFile(path, settings, lists)
    if before == split:
        return [f"{path}: nothing to do", *_table(names, clips)]
    split.write(store.path)
    return [f"{path}: {_changes(before, names)}", *_table(names, clips)]


def _earlier(options: SplitOptions, path: Path) -> SplitFile | None:
    """Returns the split to begin with: the store's own, or that of ``like``."""
    if path.exists() and not options.overwrite:
        if options.like is not None:
            raise ConfigError(f"--like: {path} exists already. --overwrite replaces it")
        return SplitFile.read(path)
    if options.like is None:
        return None
    other = split_path(options.like)
    if not other.is_file():
        raise ConfigError(f"--like {options.like}: has no split ({other})")
    return SplitFile.read(other)


def _settings(options: SplitOptions, before: SplitFile | None) -> dict[str, Any]:
    """Returns the settings: given ones, those of before, defaults. Raises ConfigError."""
    given: dict[str, Any] = {
        name: LISTED if options.lists.get(name) else options.shares.get(name) for name in DRAWN
    }
    given |= {"seed": options.seed, "by": options.by}
    for name in DRAWN:
        if options.lists.get(name) and options.shares.get(name) is not None:
            raise ConfigError(f"--{name} and --{name}_list: give one of them")
    known: dict[str, Any] = {"valid": SHARE, "test": SHARE, "seed": 0, "by": "video"}
    known |= before.settings if before else {}
    for name, value in given.items():
        if before and value is not None and value != known[name]:
            raise ConfigError(
                f"{before.path}: was made with {name}: {known[name]}, not {value}. --overwrite "
                "divides all videos again; without it, leave the option out"
            )
    settings = known | {name: value for name, value in given.items() if value is not None}
    shares = [settings[name] for name in DRAWN if settings[name] != LISTED]
    if sum(shares) >= 1:
        raise ConfigError(
            f"valid: {settings['valid']} and test: {settings['test']} leave nothing for training: "
            "their sum must be below 1"
        )
    return settings


def _clips(store: FeatureStore, by: str) -> Iterator[_Clip]:
    videos = videos_by_clip(abouts(store), by)
    for about in abouts(store):
        seconds = about.span[1] - about.span[0] if about.span else None
        yield _Clip(about.id, videos[about.id], len(non_blank(about.captions)), seconds)


def _check_store(store: FeatureStore, clips: Sequence[_Clip]) -> None:
    """Raises DataError unless there are three videos with captions."""
    videos = sorted({clip.video for clip in clips if clip.captions})
    if not videos:
        raise DataError(
            f"{store.path}: its clips have no captions. Add them: paddlevideo extract VIDEOS "
            "--captions FILE --overwrite, which extracts no video again"
        )
    if len(videos) < len(SPLITS):
        raise DataError(
            f"{store.path}: holds captioned clips of {len(videos)} video(s) only: {some(videos)}. "
            "Training, validation and test need one each. If the clips of a video may be divided, "
            "use --by clip"
        )


def _assigned(before: SplitFile | None, clips: Sequence[_Clip]) -> dict[str, str]:
    """Returns the sides of the videos that an earlier split has."""
    if before is None:
        return {}
    sides, videos = before.sides(), {clip.id: clip.video for clip in clips}
    check_videos(sides, videos, before.path)
    known = ((videos[clip], side) for clip, side in sides.items() if clip in videos)
    return {video: side for video, side in known if side != UNUSED}


def _add_listed(sides: dict[str, str], options: SplitOptions, clips: Sequence[_Clip]) -> None:
    """Adds the videos of lists. Raises DataError for one that is elsewhere already."""
    named: dict[str, str] = {}
    for side in DRAWN:
        for path in options.lists.get(side, ()):
            for name, videos in _videos_in(path, clips, options.store).items():
                for video in videos:
                    other = sides.setdefault(video, side)
                    if other != side:
                        whose = named.get(video, f"{other}: an earlier split")
                        raise DataError(
                            f'{path}: "{name}" is for {side}, but its video is for {whose} has it. '
                            "All clips of a video are for one purpose"
                        )
                    named.setdefault(video, f'{other}: "{name}" in {path}')


def _videos_in(path: Path, clips: Sequence[_Clip], store: Path) -> dict[str, set[str]]:
    """Returns the videos that each line of a list names, by the id of a clip or of a video.

    Raises DataError for lines that name none.
    """
    by_clip = {clip.id: clip.video for clip in clips}
    by_name: dict[str, set[str]] = {}
    for clip in clips:
        for video in videos_of(clip.id):
            by_name.setdefault(video, set()).add(clip.video)
    names = ClipNames(by_clip)
    names.add(by_name, CLIP + 1)
    found: dict[str, set[str]] = {}
    missing = []
    for name in sorted(read_list(path)):
        match = names.find(name, (CLIP, CLIP + 1))
        if match is None:
            missing.append(name)
        else:
            is_clip = match.kind == CLIP
            found[name] = {by_clip[match.target]} if is_clip else by_name[match.target]
    if missing:
        near = names.nearest(missing[0])
        hint = f' The nearest to "{missing[0]}" is "{near}"' if near else ""
        raise DataError(
            f"{path}: {len(missing)} of {len(found) + len(missing)} lines name no clip of {store}: "
            f"{some(missing)}.{hint}"
        )
    return found


def _draw(
    sides: dict[str, str], settings: Mapping[str, Any], clips: Sequence[_Clip], store: FeatureStore
) -> None:
    """Assigns the captioned videos that have no side. Raises DataError if a side stays empty."""
    first = {c.video: c.id for c in sorted(clips, key=lambda c: c.id, reverse=True) if c.captions}
    # In the order of clip ids, which do not change when videos are moved.
    new = sorted((video for video in first if video not in sides), key=first.__getitem__)
    order = np.random.default_rng(settings["seed"]).permutation(len(new))
    drawn = iter([new[position] for position in order])
    for side in ("test", "valid"):
        if settings[side] != LISTED:
            have = sum(sides.get(video) == side for video in first)
            wanted = max(1, round(settings[side] * len(first))) - have
            for _, video in zip(range(wanted), drawn, strict=False):
                sides[video] = side
    sides |= dict.fromkeys(drawn, "train")
    filled = {sides[video] for video in first}
    if empty := [side for side in SPLITS if side not in filled]:
        raise DataError(
            f"{store.path}: no captioned video is left for {' and '.join(empty)}, of "
            f"{len(first)}: choose smaller shares or shorter lists"
        )


def _changes(before: SplitFile | None, names: Mapping[str, str]) -> str:
    if before is None:
        return "written"
    earlier = before.sides()
    new = sum(clip not in earlier for clip in names)
    gone = sum(clip not in names for clip in earlier)
    moved = sum(side != earlier.get(clip, side) for clip, side in names.items())
    told = [f"{len(names) - new - moved} clips stay where they were", f"{new} are new"]
    told += [f"{gone} are gone"] * bool(gone)
    told += [f"{moved} have captions now, or have none any more"] * bool(moved)
    return ", ".join(told)


def _table(names: Mapping[str, str], clips: Sequence[_Clip]) -> list[str]:
    """Returns a line for each side: videos, clips, captions and, if all are known, seconds."""
    with_seconds = all(clip.seconds is not None for clip in clips)
    heads = ("", "videos", "clips", "captions", *(["seconds"] if with_seconds else []))
    rows: list[Sequence[str]] = [heads]
    for side in (*SPLITS, UNUSED):
        chosen = [clip for clip in clips if names[clip.id] == side]
        if chosen or side != UNUSED:
            title = "without captions" if side == UNUSED else side
            rows.append([title, *_counts(chosen)[: len(heads) - 1]])
    width = max(len(row[0]) for row in rows)
    return [
        printable(f"  {row[0]:{width}}" + "".join(f"  {cell:>8}" for cell in row[1:]))
        for row in rows
    ]


def _counts(clips: Collection[_Clip]) -> list[str]:
    seconds: Iterable[float] = (clip.seconds for clip in clips if clip.seconds is not None)
    videos, captions = {clip.video for clip in clips}, sum(clip.captions for clip in clips)
    return [f"{len(videos):,}", f"{len(clips):,}", f"{captions:,}", f"{sum(seconds):,.1f}"]
