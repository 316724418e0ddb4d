"""Data of a report's tables: numbers with chance, costs, the protocol."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from paddlevideo.report.queries import DIRECTIONS

#: Other scores of the same test in ``results.json``, and their titles on the page.
PARTS = {
    "first_stage": "first stage alone",
    "match_alone": "match margin alone",
    "dual_softmax": "dual softmax (uses the other queries)",
}
#: The CSS class of a direction's marks.
STYLES = {"text_to_video": "forward", "video_to_text": "backward"}
COLUMNS = {"MedianR": "median rank", "MeanR": "mean rank"}
RECALL = re.compile(r"(?:R|recall)@(\d+)")


def spoken(direction: str) -> str:
    """Returns a direction as shown: ``text to video``."""
    return direction.replace("_", " ")


def part(results: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """Returns the object below ``names``, or an empty one."""
    value: Any = results
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def number(column: str, value: object) -> str | None:
    """Formats a metric: one decimal, none for the median; None if it is not a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return f"{value:,.0f}" if column == "MedianR" else f"{value:,.1f}"


def numbers(results: Mapping[str, Any]) -> dict[str, Any]:
    """Returns ``columns``, and ``rows`` of both directions and of the parts in the results.

    The ``cells`` of a row are pairs of a number and chance, None if missing.
    """
    scorings = {
        (direction, name): part(results, *([name] if name else []), direction)
        for direction in DIRECTIONS
        for name in ("", *PARTS)
    }
    columns = _columns(name for metrics in scorings.values() for name in metrics)
    rows = []
    for (direction, name), metrics in scorings.items():
        chance = part(results, "chance", direction)
        cells = [(number(c, metrics.get(c)), number(c, chance.get(c))) for c in columns]
        row = {"direction": spoken(direction), "style": STYLES[direction], "cells": cells}
        if metrics:
            rows.append({**row, "part": PARTS.get(name)})
    return {
        "columns": [COLUMNS.get(name, name) for name in columns],
        "rows": rows,
        "compared": "chance" in results,
        "costs": costs(results),
    }


def _columns(names: Iterable[str]) -> list[str]:
    """Returns the columns in order: R@k by k, then ranks; other numbers are left out."""
    names = set(names)
    by_k = {name: int(match[1]) for name in names if (match := RECALL.fullmatch(name))}
    return sorted(by_k, key=lambda name: (by_k[name], name)) + [n for n in COLUMNS if n in names]


def costs(results: Mapping[str, Any]) -> str:
    """Returns a line on the cost of the test's stages, or ""."""
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
        words.append(f"weight of the similarity {weight:g}")
    return "; ".join(words)


def protocol_entries(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the name and value of each entry of the protocol."""
    return [
        (
            name.replace("_", " "),
            value if isinstance(value, str) else json.dumps(value, default=str),
        )
        for name, value in part(results, "protocol").items()
    ]
