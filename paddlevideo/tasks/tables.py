"""A test's results as a table on the terminal."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any

log = logging.getLogger("paddlevideo")

DIRECTIONS = ("text_to_video", "video_to_text")

#: Further lines below a direction's own: the key in the results, and what the line is called.
FURTHER = {
    "first_stage": "first stage alone",
    "match_alone": "match margin alone",
    "dual_softmax": "dual softmax (see below)",
    "chance": "chance",
}

#: Columns of a line of the log, and of what stands before each message.
COLUMNS, PREFIX = 120, len("[12/31 23:59:59] INFO: ")


def print_results(results: Mapping[str, Any]) -> None:
    """Plain numbers to the log, directions of retrieval as a table with chance beside them."""
    from rich.console import Console
    from rich.table import Table

    for name, value in results.items():
        if isinstance(value, (int, float)):
            log.info("%s: %.5f", name.replace("_", " "), value)
    directions = [way for way in DIRECTIONS if way in results]
    if directions:
        columns = list(results[directions[0]])
        table = Table("", *columns)
        for way in directions:
            table.add_row(way.replace("_", " "), *cells(results[way], columns), style="bold")
            for key, title in FURTHER.items():
                if numbers := results.get(key, {}).get(way):
                    table.add_row(f"  {title}", *cells(numbers, columns), style="dim")
        Console(width=max(Console().width, 80)).print(table)
    for line in stage_lines(results):
        log.info("%s", line)


def cells(numbers: Mapping[str, float], columns: list[str]) -> list[str]:
    """The numbers formatted to two decimals."""
    return [f"{numbers[column]:.2f}" for column in columns]


def stage_lines(results: Mapping[str, Any]) -> Iterator[str]:
    """What the stages took, and what the first one let through."""
    for way, numbers in results.get("first_stage", {}).items():
        for name, value in numbers.items():
            if name not in results[way] and name.startswith("R@"):
                yield (
                    f"{way.replace('_', ' ')}: the first stage's {name[2:]} best hold a right "
                    f"answer for {value:.2f} % of the queries"
                )
    if "dual_softmax" in results:
        yield "dual softmax: every query profits from the others, so it compares with nothing else"
    stages = results.get("stages", {})
    if pairs := stages.get("pairs_scored"):
        seconds = stages["scoring_seconds"]
        yield (
            f"gallery encoded in {stages['gallery_seconds']:.1f} s, first stage "
            f"{stages['first_stage_seconds']:.1f} s, {pairs:,} pairs scored in {seconds:.1f} s"
        )


def short_lines(title: str, results: Mapping[str, Any], chance: Mapping[str, Any]) -> list[str]:
    """At most two lines that fit into the log: the first groups of numbers, as many as have room.

    ``chance``: what random answers would reach, in the shape of ``results``; it stands beside.
    """
    plain = numbers_of(results)
    groups = {title: (plain, chance)} if plain else {}
    for name, group in results.items():
        if isinstance(group, Mapping) and (numbers := numbers_of(group)):
            groups[f"{title} {name}"] = numbers, chance.get(name, {})
    # Groups that chance is known of come first, others stay in their order.
    order = sorted(groups, key=lambda name: not numbers_of(groups[name][1]))
    return [fitting_line(name, *groups[name]) for name in order[:2]]


def numbers_of(results: Mapping[str, Any]) -> dict[str, float]:
    """Those entries that are numbers themselves."""
    return {name: float(v) for name, v in results.items() if isinstance(v, Real)}


def fitting_line(title: str, numbers: Mapping[str, float], chance: Mapping[str, Any]) -> str:
    """``title`` with the first numbers, and those of chance, that fit into a line."""
    names = list(numbers)
    line = title[: COLUMNS - PREFIX]
    for count in range(1, len(names) + 1):
        shown = " ".join(f"{name} {rounded(numbers[name])}" for name in names[:count])
        random = " ".join(rounded(chance[name], 1) for name in names[:count] if name in chance)
        longer = f"{title} {shown}" + (f"; chance {random}" if random else "")
        if len(longer) > COLUMNS - PREFIX:
            break
        line = longer
    return line


def rounded(value: float, small: int = 3) -> str:
    """Three digits, ``small`` of a number below 1; whole numbers as they are."""
    if math.isfinite(value) and (abs(value) >= 1000 or value == int(value)):
        return f"{value:.0f}"
    return f"{value:.{3 if abs(value) >= 1 else small}g}"
