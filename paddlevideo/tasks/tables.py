"""A test's results as a table on the terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
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
    """Two digits each."""
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
