"""The tables of a report: the numbers with chance beside them, and the protocol."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from paddlevideo.report.markup import Markup, element, join, unseen
from paddlevideo.report.queries import DIRECTIONS

#: Other scorings of the same test in ``results.json``, and what they are called on the page.
PARTS = {
    "first_stage": "first stage alone",
    "match_alone": "match margin alone",
    "dual_softmax": "dual softmax (uses the other queries)",
}
COLUMNS = {"MedianR": "median rank", "MeanR": "mean rank"}
RECALL = re.compile(r"(?:R|recall)@(\d+)")


def spoken(direction: str) -> str:
    """A direction for people: ``text to video``."""
    return direction.replace("_", " ")


def part(results: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """The object below ``names``, or an empty one where there is none."""
    found: Any = results
    for name in names:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def number(column: str, value: object) -> str | None:
    """A metric for people: percent and means with one decimal; None for what is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return f"{value:,.0f}" if column == "MedianR" else f"{value:,.1f}"


def metric_table(results: Mapping[str, Any]) -> Markup:
    """Both directions, the parts of the test where there are some, and chance beside each."""
    rows = [
        (direction, name, part(results, *([name] if name else []), direction))
        for direction in DIRECTIONS
        for name in ("", *PARTS)
    ]
    rows = [row for row in rows if row[2]]
    columns = _columns(name for row in rows for name in row[2])
    heads = [element("th", unseen("direction"), scope="col")]
    heads += [element("th", COLUMNS.get(name, name), scope="col") for name in columns]
    body = [_metric_row(row, columns, part(results, "chance", row[0])) for row in rows]
    table = element(
        "table",
        element("caption", "Results, with chance beside each number", class_="unseen"),
        element("thead", element("tr", *heads)),
        element("tbody", *body),
        class_="numbers",
    )
    # What may scroll sideways must be reachable with the keyboard.
    return element(
        "div", table, class_="panel wide", tabindex=0, role="region", aria_label="Results"
    )


def _columns(names: Iterable[str]) -> list[str]:
    """``R@1``, ``R@5``, ... by k, then the ranks; nothing else has a place in the table."""
    names = set(names)
    recalls = {name: int(match[1]) for name in names if (match := RECALL.fullmatch(name))}
    return sorted(recalls, key=lambda name: (recalls[name], name)) + [
        name for name in COLUMNS if name in names
    ]


def _metric_row(
    row: tuple[str, str, Mapping[str, Any]], columns: list[str], chance: Mapping[str, Any]
) -> Markup:
    direction, name, metrics = row
    title = join(unseen(f"{spoken(direction)}, "), PARTS[name]) if name else spoken(direction)
    cells = [_cell(column, metrics.get(column), chance.get(column)) for column in columns]
    head = element("th", title, scope="row")
    return element("tr", head, *cells, class_="part" if name else "whole")


def _cell(column: str, value: object, chance: object) -> Markup:
    shown, beside = number(column, value), number(column, chance)
    if shown is None:
        return element("td", element("span", "–", class_="dim"))
    pieces = [element("span", shown, class_="value")]
    if beside is not None:
        pieces.append(element("span", unseen(" chance "), beside, class_="chance"))
    return element("td", *pieces)


def effort(results: Mapping[str, Any]) -> str:
    """One line on what the stages of the test cost; empty where ``results`` does not say."""
    stages, protocol = part(results, "stages"), part(results, "protocol")
    scored, words = stages.get("pairs_scored"), []
    sides = [
        value for name in ("captions", "videos") if isinstance(value := protocol.get(name), int)
    ]
    pairs = sides[0] * sides[1] if len(sides) == 2 else 0
    if isinstance(scored, int) and pairs > 0:
        words.append(f"{scored:,} of {pairs:,} pairs scored ({100 * scored / pairs:.1f} %)")
    for name, value in stages.items():
        seconds = number(name, value)
        if name.endswith("_seconds") and seconds is not None:
            words.append(f"{name.removesuffix('_seconds').replace('_', ' ')} {seconds} s")
    weight = results.get("similarity_weight")
    if isinstance(weight, (int, float)):
        words.append(f"weight of the first stage's similarity {weight:g}")
    return "; ".join(words)


def protocol_table(protocol: Mapping[str, Any]) -> Markup:
    """The protocol, one line a key."""
    rows = [
        element(
            "tr", element("th", name.replace("_", " "), scope="row"), element("td", _text(value))
        )
        for name, value in protocol.items()
    ]
    caption = element("caption", "Protocol of the test", class_="unseen")
    table = element("table", caption, element("tbody", *rows), class_="protocol")
    return element("div", table, class_="panel wide")


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
