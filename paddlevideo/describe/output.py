"""Rows of what a model says of videos: on the terminal, as lines, as subtitles, in COIN's form."""

from __future__ import annotations

import json
import re
import string
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from paddlevideo.captioning.subtitles import TimedCaption, srt_text
from paddlevideo.files.whole import write_json_whole, write_text_whole
from paddlevideo.timelines.segmentation import coin_form
from paddlevideo.utils.errors import ConfigError

Row = dict[str, Any]
#: Keys whose value is a list of rows: segments or steps.
PARTS = ("segments", "steps")
#: Columns of numbers, which are not wrapped.
NUMBERS = ("start", "end", "second", "score")
#: What would end a cell or a line in a pipe.
_BREAKS = re.compile(r"[\t\n\v\f\r]+")


def flat(row: Row) -> list[Row]:
    """Returns a row for each segment or step of ``row``, or the row itself."""
    for name in PARTS:
        if name in row:
            about: Row = {key: row[key] for key in ("video", "task") if key in row}
            return [{**about, **part} for part in row[name]]
    return [{key: value for key, value in row.items() if key != "log_probability"}]


def shown(value: Any, separator: str = "; ") -> str:
    """Formats a cell: seconds with a decimal, lists with commas, scores best first."""
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, dict):
        best = sorted(value.items(), key=lambda item: -item[1])
        return separator.join(f"{score:.2f} {text}" for text, score in best)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def print_rows(rows: Iterable[Row], as_json: bool) -> list[Row]:
    """Prints rows as they come, and returns them.

    JSON lines if asked for; on a terminal a table, with a bar for each video's segments; in a pipe
    tab-separated lines below a header.
    """
    done, header = [], None
    terminal = sys.stdout.isatty() and not as_json
    for row in rows:
        done.append(row)
        if as_json:
            print(json.dumps(row, ensure_ascii=False), flush=True)
        elif not terminal:
            for line in flat(row):
                if list(line) != header:
                    header = list(line)
                    print(*header, sep="\t")
                cells = (_BREAKS.sub(" ", shown(value)) for value in line.values())
                print(*cells, sep="\t", flush=True)
    if terminal:
        print_table(done)
    return done


def print_table(rows: Sequence[Row]) -> None:
    """Prints a table, and bars of the videos that are divided into segments."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    lines = [line for row in rows for line in flat(row)]
    columns = list(dict.fromkeys(key for line in lines for key in line))
    if all("start" in line and f"{line.get('video')}_" in line.get("clip", "") for line in lines):
        columns = [name for name in columns if name != "clip"]  # it says nothing more
    if "scores" in columns:
        columns.remove("answer")  # the first of the scores
    table = Table()
    for name in columns:
        is_number = name in NUMBERS
        justify: Any = "right" if is_number else "left"
        table.add_column(name, justify=justify, no_wrap=is_number, overflow="fold")
    for line in lines:
        table.add_row(*(Text(shown(line.get(key, ""), "\n")) for key in columns))
    console.print(table)
    for row in rows:
        if "segments" in row:
            console.print(bar(row, console.width))


def bar(row: Row, width: int) -> Any:
    """Returns a video's segments as a line of ``width`` cells, and what its signs stand for.

    Colours repeat after six classes, and some terminals have none.
    """
    from rich.text import Text

    colours = ("blue", "yellow", "green", "magenta", "red", "cyan")
    names = list(dict.fromkeys(part["label"] for part in row["segments"]))
    signs, cells = string.ascii_letters, [(" ", "")] * width
    sign = {
        name: (signs[index % len(signs)], f"black on bright_{colours[index % len(colours)]}")
        for index, name in enumerate(names)
    }
    for part in row["segments"]:
        first, last = (int(part[end] * width / max(row["seconds"], 1)) for end in ("start", "end"))
        for position in range(first, min(max(last, first + 1), width)):
            cells[position] = sign[part["label"]]
    legend = [item for name in names for item in ("  ", sign[name], f" {name}")]
    return Text.assemble(*cells, f"\n{row['video']}, {row['seconds']} s:", *legend)


def write_srt(rows: Iterable[Row], folder: Path) -> list[Path]:
    """Writes ``<video>.srt`` with what is said of each video, and returns the files.

    Videos in subfolders have theirs in subfolders. Raises ConfigError for clips without times.
    """
    by_video: dict[str, list[TimedCaption]] = defaultdict(list)
    for row in rows:
        by_video[row.get("video") or row["clip"]] += map(timed, flat(row))
    files = []
    for video, captions in by_video.items():
        inside = (part for part in Path(video).parts if part not in ("/", ".."))
        files.append(folder / f"{Path(*inside)}.srt")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        write_text_whole(files[-1], srt_text(captions))
    return files


def timed(line: Row) -> TimedCaption:
    """Returns the text of a row that is shown, with its times. Raises ConfigError without them."""
    if "second" in line:
        step = ": ".join(line[key] for key in ("task", "step") if key in line)
        return TimedCaption(line["second"], line["second"] + 1, step)
    if "start" not in line:
        raise ConfigError(
            f'--srt: the times of clip "{line["clip"]}" are unknown: it is a whole video. '
            "Divide the videos with --every SECONDS, or list spans in a CSV"
        )
    names = ("caption", "label", "question", "answer")
    text = ": ".join(line[key] for key in names if key in line)
    return TimedCaption(line["start"], line["end"], text)


def write_coin(rows: Sequence[Row], classes: Sequence[str], path: Path) -> None:
    """Writes the segments of videos in the form of ``COIN.json``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json_whole(path, coin_form(rows, classes))
