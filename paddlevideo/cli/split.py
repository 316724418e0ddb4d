"""Divides the clips of a feature store into training, validation and test, video by video.

    paddlevideo split
    paddlevideo split clips.store --valid 0.05 --test_list test.txt

Writes STORE.split.json beside the store: the ids of the clips for each purpose, one per line. No
video is on two sides; clips without captions are on none. After videos were added, the same command
keeps what is assigned and divides the new videos only. A recipe reads the split with
``data: STORE``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from paddlevideo.utils.command import exit_code_of, exit_on_interrupt
from paddlevideo.utils.options import DEFAULT_STORE, Parser, as_path
from paddlevideo.utils.ranges import Range, count_or_zero, number


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add(
        "store",
        nargs="?",
        type=as_path,
        default=Path(DEFAULT_STORE),
        metavar="STORE",
        help=f"default: {DEFAULT_STORE}",
    )
    share = number(float, Range(above=0, below=1))
    sides = (("validation", "--valid", "--valid_list"), ("the test", "--test", "--test_list"))
    for purpose, flag, list_flag in sides:
        text = f"share of the videos for {purpose}; default: 0.1"
        add(flag, type=share, metavar="SHARE", help=text)
        text = "instead of a share: ids of clips or videos, one per line"
        add(list_flag, type=as_path, nargs="+", default=[], metavar="FILE", help=text)
    add("--seed", type=count_or_zero, help="of the random choice; default: 0")
    add("--by", choices=("video", "clip"), help="clip: divide a video's clips too; default: video")
    add("--like", type=as_path, metavar="STORE", help="begin with the split of another store")
    add("--overwrite", action="store_true", help="replace the split: divide all videos again")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = parse_arguments(arguments)
    return exit_code_of(lambda: _split(options))


def _split(options: argparse.Namespace) -> None:
    with exit_on_interrupt():
        from paddlevideo.prepare.split import SplitOptions, split_store
    lines = split_store(
        SplitOptions(
            options.store,
            {"valid": options.valid, "test": options.test},
            {"valid": options.valid_list, "test": options.test_list},
            options.seed,
            options.by,
            options.like,
            options.overwrite,
        )
    )
    print("\n".join(lines))
