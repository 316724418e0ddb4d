"""What the stages of a test confuse: colours, shapes, actions, or who does what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from paddlevideo.demo.grammar import ACTIONS, COLOURS, SHAPES, Triple

ATTRIBUTES = ("colour", "shape", "action")
#: What a wrong clip differs in: as many things as in the caption or not, one of the attributes, or
#: only in which thing has which of them.
DIFFERENCES = ("number", *ATTRIBUTES, "order")


def triples_of(caption: str) -> list[Triple]:
    """Returns colour, shape and action of each thing in a caption of the grammar, in its order."""
    words, things = caption.split(), []
    for position, word in enumerate(words):
        if colour := _key(COLOURS, [word]):
            shape = _key(SHAPES, words[position + 1 :])
            after = position + 1 + _length(SHAPES[shape], words[position + 1 :])
            # The second thing of a collision has no verb.
            action = _key(ACTIONS, words[after:]) or "collide"
            things.append((colour, shape, action))
    return things


def _length(phrases: Sequence[str], words: Sequence[str]) -> int:
    """Returns the number of words of the phrase that ``words`` begin with; 0: none does."""
    lengths = [len(p.split()) for p in phrases if words[: len(p.split())] == p.split()]
    return max(lengths, default=0)


def _key(table: Mapping[str, Sequence[str]], words: Sequence[str]) -> str:
    """Returns the key of the phrase that ``words`` begin with, or an empty string."""
    return next((key for key, phrases in table.items() if _length(phrases, words)), "")


def differences(caption: str, other: str) -> set[str]:
    """Returns which of ``DIFFERENCES`` two captions have."""
    first, second = triples_of(caption), triples_of(other)
    if len(first) != len(second):
        return {"number"}
    columns = zip(zip(*first, strict=True), zip(*second, strict=True), strict=True)
    wrong = {
        name for name, (a, b) in zip(ATTRIBUTES, columns, strict=True) if sorted(a) != sorted(b)
    }
    return wrong or {"order"}


def confusions(scores: np.ndarray, captions: Sequence[str], truth: np.ndarray) -> dict[str, float]:
    """Returns R@1 and the percentage of captions whose best clip differs in each respect.

    Args:
        scores: (captions, clips), higher is better.
        captions: one for each clip, in the order of ``truth``.
        truth: (captions,) integers, the clip of each caption.
    """
    caption_of = dict(zip(truth.tolist(), captions, strict=True))
    counts = dict.fromkeys(("R@1", *DIFFERENCES), 0)
    for row, caption, positive in zip(scores, captions, truth.tolist(), strict=True):
        others = np.where(np.arange(len(row)) == positive, -np.inf, row)
        best = int(others.argmax())
        if others[best] < row[positive]:
            counts["R@1"] += 1
        else:
            for name in differences(caption, caption_of[best]):
                counts[name] += 1
    return {name: 100 * count / len(captions) for name, count in counts.items()}


def print_confusions(path: Path) -> None:
    """Prints what each stage confuses, from a ``scores.npz``; without a head there is only one."""
    from rich.console import Console
    from rich.table import Table

    with np.load(path) as arrays:
        captions, truth = arrays["captions"].tolist(), arrays["truth"]
        stages = {"first stage": "similarities", "match margin": "margins", "both": "scores"}
        table = Table("", "R@1", *DIFFERENCES, title="What wrong clips differ in, % of captions")
        for title, name in stages.items():
            if name in arrays:
                numbers = confusions(arrays[name], captions, truth)
                table.add_row(title, *(f"{number:.1f}" for number in numbers.values()))
    Console(width=max(Console().width, 80)).print(table)
