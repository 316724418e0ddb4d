"""Draws queries of a test: each row has a caption and its best clips."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paddlevideo.report.clip_pictures import ClipPictures
from paddlevideo.report.fonts import wrapped
from paddlevideo.report.queries import Query, RankedAnswer
from paddlevideo.report.thumbnails import Canvas, Colour, thumbnail

BEST = 5  # clips per row
SIDE, GAP, TEXT, LINE = 168, 14, 300, 26  # pixels: thumbnail, margin, caption, line
HEADER, LABEL, FRAME = 68, 34, 4
WHITE, TILE = (255, 255, 255), (240, 236, 233)  # BGR, like all colours of a canvas
INK, GREY, RULE = (29, 24, 20), (112, 100, 90), (232, 227, 223)
GREEN, RED = (58, 112, 18), (40, 40, 190)


def draw_queries(
    queries: Sequence[Query], title: str, note: str, candidates: int, pictures: ClipPictures
) -> np.ndarray:
    """Returns the picture, (height, width, 3) uint8 BGR; clips without a video are grey squares.

    ``candidates``: the number of clips in the test.
    """
    height = SIDE + LABEL + 2 * GAP
    width = TEXT + BEST * (SIDE + GAP) + 2 * GAP
    canvas = Canvas(HEADER + height * len(queries), width, WHITE)
    canvas.text(title, (GAP, 32), INK, 20, width - 2 * GAP)
    canvas.text(note, (GAP, 54), GREY, 13, width - 2 * GAP)
    for row, query in enumerate(queries):
        top = HEADER + row * height
        canvas.line(top, RULE)
        _draw_caption(canvas, query, top + GAP, candidates)
        for column, answer in enumerate(query.best[:BEST]):
            left = TEXT + GAP + column * (SIDE + GAP)
            _draw_clip(canvas, answer, (left, top + GAP), column + 1, pictures)
    return canvas.pixels


def _draw_caption(canvas: Canvas, query: Query, top: int, candidates: int) -> None:
    for number, line in enumerate(wrapped(query.query, 18, TEXT - GAP, 5)):
        canvas.text(line, (GAP, top + 18 + number * LINE), INK, 18, TEXT - GAP)
    is_shown = query.rank <= BEST
    note = f"correct clip: rank {query.rank}" + ("" if is_shown else f" of {candidates}")
    canvas.text(note, (GAP, top + SIDE + 24), GREEN if is_shown else RED, 16, TEXT - GAP)


def _draw_clip(
    canvas: Canvas,
    answer: RankedAnswer,
    corner: tuple[int, int],
    position: int,
    pictures: ClipPictures,
) -> None:
    left, top = corner
    picture = pictures.read(answer.name, thumbnail, SIDE)
    if picture is not None:
        canvas.picture(picture, corner)
    else:
        canvas.picture(np.full((SIDE, SIDE, 3), TILE, np.uint8), corner)
        canvas.text(answer.name, (left + 6, top + SIDE // 2), GREY, 13, SIDE - 12)
    colour: Colour = GREY
    if answer.right:
        colour = GREEN
        canvas.frame(corner, SIDE, FRAME, GREEN)
    label = f"{position}.  score {answer.score:.2f}"
    canvas.text(label, (left, top + SIDE + 24), colour, 16, SIDE)
