"""Rows of what a model says of videos: on the terminal, as tab-separated lines, as JSON."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from paddlevideo.captioning.subtitles import TimedCaption, srt_text
from paddlevideo.files.whole import write_text_whole
from paddlevideo.utils.errors import ConfigError

Row = dict[str, Any]
#: Keys whose value is a list of rows: segments or steps.
PARTS = ("segments", "steps")


def flat(row: Row) -> list[Row]:
    """Returns a row for each segment or step of ``row``, or the row itself."""
    for name in PARTS:
        if name in row:
            return [{"video": row["video"], **part} for part in row[name]]
    return [{key: value for key, value in row.items() if key != "log_probability"}]


def shown(value: Any) -> str:
    """Formats a cell: seconds with a decimal, lists with commas."""
    if isinstance(value, float):
        return f"{value:.1f}"
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
                print(*map(shown, line.values()), sep="\t", flush=True)
    if terminal:
        print_table(done)
    return done


def print_table(rows: Sequence[Row]) -> None:
    """Prints a table, and bars of the videos that are divided into segments."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    lines = [line for row in rows for line in flat(row)]
    columns = list(dict.fromkeys(key for line in lines for key in line))
    table = Table(*columns)
    for line in lines:
        table.add_row(*(shown(line.get(key, "")) for key in columns))
    console.print(table)
    for row in rows:
        if "segments" in row:
            console.print(bar(row, console.width))


def bar(row: Row, width: int) -> Any:
    """Returns a video's segments as one line of ``width`` cells, and the names of its colours."""
    from rich.text import Text

    colours = ("blue", "yellow", "green", "magenta", "red", "cyan")
    names = list(dict.fromkeys(part["label"] for part in row["segments"]))
    style = {name: f"on {colours[index % len(colours)]}" for index, name in enumerate(names)}
    cells = [""] * width
    for part in row["segments"]:
        first, last = (int(part[end] * width / max(row["seconds"], 1)) for end in ("start", "end"))
        for position in range(first, min(max(last, first + 1), width)):
            cells[position] = style[part["label"]]
    line = Text()
    for colour in cells:
        line.append(" ", style=colour)
    legend = Text(f"\n{row['video']}, {row['seconds']} s: ")
    for index, name in enumerate(names):
        legend.append("  ", style=style[name])
        legend.append(f" {name}{',' if index + 1 < len(names) else ''} ")
    return line + legend


def write_srt(rows: Iterable[Row], folder: Path) -> list[Path]:
    """Writes ``<video>.srt`` with the captions of each video, and returns the files.

    Raises ConfigError for clips without times.
    """
    by_video: dict[str, list[TimedCaption]] = defaultdict(list)
    for row in rows:
        if "start" not in row:
            raise ConfigError(
                f'--srt: the times of clip "{row["clip"]}" are unknown: it is a whole video. '
                "Divide the videos with --every SECONDS, or list spans in a CSV"
            )
        video: str = row.get("video") or row["clip"]
        by_video[video].append(TimedCaption(row["start"], row["end"], row["caption"]))
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for video, captions in by_video.items():
        files.append(folder / f"{video.replace('/', '_')}.srt")
        write_text_whole(files[-1], srt_text(captions))
    return files
