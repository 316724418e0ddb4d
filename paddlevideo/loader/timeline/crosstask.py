"""The files of CrossTask: task cards, lists of videos, and annotations of steps.

T seconds of a video, K steps of its task.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paddlevideo.loader.timeline.labels import span_of
from paddlevideo.registry import did_you_mean
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.text_files import text_lines, whole_number

LINES = 5  # of a card: id, title, address, number of steps, steps


@dataclass(frozen=True)
class TaskCard:
    """A task and the texts of its steps, in the order of the list."""

    id: str
    title: str
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """An annotated step: its index in the card from 0, and its span in seconds."""

    index: int
    start: float
    end: float


def read_cards(path: str) -> dict[str, TaskCard]:
    """Returns the cards in a file such as ``tasks_primary.txt``, by the ids of their tasks.

    Raises DataError naming file and line.
    """
    lines = text_lines(path)
    cards: dict[str, TaskCard] = {}
    for first in range(0, len(lines), LINES):
        numbers, texts = zip(*lines[first : first + LINES], strict=True)
        where = f"{path}: line {numbers[0]}"
        if len(texts) < LINES or whole_number(texts[3]) is None:
            raise DataError(
                f'{where}: "{texts[0]:.40}": expected five lines for each task: its id, its title, '
                "an address, the number of steps, and the steps separated by commas"
            )
        steps = tuple(step.strip() for step in texts[4].split(","))
        if len(steps) != whole_number(texts[3]) or not all(steps):
            raise DataError(
                f"{path}: line {numbers[4]}: {len(steps)} steps, but line {numbers[3]} says "
                f"{texts[3]}. A step is a text without a comma"
            )
        if texts[0] in cards:
            raise DataError(f'{where}: task "{texts[0]}" occurs twice; keep one card')
        cards[texts[0]] = TaskCard(texts[0], texts[1], steps)
    if not cards:
        raise DataError(f"{path}: holds no task")
    return cards


def read_videos(path: str) -> list[tuple[str, str]]:
    """Returns task and video of each line ``task,video,address`` of a file such as ``videos.csv``.

    Lines that are equal count once. Raises DataError naming file and line.
    """
    pairs = []
    for number, line in text_lines(path):
        parts = [part.strip() for part in line.split(",")]
        if len(parts) < 2 or not all(parts[:2]):
            raise DataError(
                f'{path}: line {number}: "{line:.60}": expected task,video,address, as in '
                "CrossTask's videos.csv"
            )
        pairs.append((parts[0], parts[1]))
    if not pairs:
        raise DataError(f"{path}: names no video")
    return list(dict.fromkeys(pairs))


def annotation_path(folder: str, task: str, video: str) -> Path:
    """Returns the file of a video's steps, ``<task>_<video>.csv``."""
    return Path(folder) / f"{task}_{video}.csv"


def read_steps(path: Path, card: TaskCard, seconds: int) -> list[Step]:
    """Returns the steps of a video of ``seconds``, from lines ``number,start,end``.

    Raises DataError naming file and line for a step that the card does not have, and for a span
    that ends before it starts or beyond the video.
    """
    steps = []
    for number, line in text_lines(str(path)):
        where = f"{path}: line {number}"
        parts = [part.strip() for part in line.split(",")]
        index = whole_number(parts[0])
        if len(parts) != 3 or index is None:
            raise DataError(
                f'{where}: "{line:.60}": expected the number of a step from 1, its start and its '
                "end in seconds"
            )
        if not 1 <= index <= len(card.steps):
            raise DataError(
                f'{where}: step {parts[0]}, but task {card.id} ("{card.title}") has the steps 1 to '
                f"{len(card.steps)}"
            )
        start, end = span_of(parts[1:], seconds, where)
        steps.append(Step(index - 1, start, end))
    return steps


def step_seconds(steps: Iterable[Step], seconds: int, count: int) -> np.ndarray:
    """Returns which seconds belong to each of ``count`` steps, (T, K) bool.

    From the floor of a start to the ceiling of an end, as CrossTask counts.
    """
    true = np.zeros((seconds, count), bool)
    for step in steps:
        true[math.floor(step.start) : math.ceil(step.end), step.index] = True
    return true


def card_of(cards: dict[str, TaskCard], task: str, where: str) -> TaskCard:
    """Returns the card of a task. Raises DataError, beginning with ``where``, if there is none."""
    if task not in cards:
        raise DataError(f'{where}: task "{task}" has no card.{did_you_mean(task, cards)}')
    return cards[task]
