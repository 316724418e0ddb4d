r"""Draws what a retrieval test found: a caption and its five best clips on each row.

    paddlevideo show_retrieval --scores output/ActBert_demo/scores.npz \
        --videos data/demo/videos --output output/ActBert_demo/retrieval.png

scores.npz is what main.py --test writes with score_matrix: True. The right clip has a green
frame; where it is not among the best five, the row says at which rank it came. A score is the match
margin plus the weighted similarity: 0 is undecided. --features names the feature store that was
tested, which knows the clips' videos.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paddlevideo.retrieval.ranks import highest, ranks
from paddlevideo.utils.command import exit_code_of
from paddlevideo.utils.options import Parser, as_path
from paddlevideo.utils.ranges import count

if TYPE_CHECKING:
    from paddlevideo.report.clip_pictures import ClipPictures
    from paddlevideo.report.thumbnails import Canvas

BEST = 5
THUMBNAIL, GAP, TEXT, LINE = 168, 14, 300, 26  # pixels
HEADER, LABEL, FRAME = 62, 30, 5
SCORE = "score: match margin plus weighted similarity; 0 is undecided, below 0 rather a mismatch"
WHITE, INK, GREY, GREEN, RED = (
    (255, 255, 255),
    (40, 34, 30),
    (130, 122, 116),
    (60, 160, 30),
    (50, 50, 205),
)


@dataclass
class Results:
    """What a retrieval test writes with ``score_matrix: True``."""

    scores: np.ndarray  # captions, videos float32
    captions: np.ndarray  # captions, str
    video_ids: np.ndarray  # videos, str
    truth: np.ndarray  # captions, int64: the column of each caption's video

    def ranks(self) -> np.ndarray:
        """Rank of each caption's video, from 1; ties count against it."""
        return ranks(self.scores, self.truth)

    def best(self, row: int) -> np.ndarray:
        """Columns of the best clips of a caption; the right one is last among equals."""
        return highest(self.scores[[row]], BEST, last=self.truth[[row]])[0][0]


def read_results(path: Path) -> Results:
    """Reads ``scores.npz``; raises DataError where it is not what :class:`Results` says."""
    from paddlevideo.files.npz import read_npz
    from paddlevideo.files.whole import check_together
    from paddlevideo.utils.errors import DataError

    check_together(path)
    names = ("scores", "captions", "video_ids", "truth")
    advice = "main.py --test with -o score_matrix=True writes such a file"
    try:
        held = read_npz(path, names)
    except DataError as error:
        raise DataError(f"{error}; {advice}") from None
    if absent := set(names) - held.keys():
        raise DataError(f"{path}: has no {', '.join(sorted(absent))}; {advice}")
    results = Results(**held)
    captions, videos = len(results.captions), len(results.video_ids)
    if results.scores.shape != (captions, videos) or results.truth.shape != (captions,):
        raise DataError(
            f"{path}: scores {results.scores.shape} and truth {results.truth.shape} do not fit "
            f"{captions} captions and {videos} videos; {advice}"
        )
    if not np.isfinite(results.scores).all():
        raise DataError(f"{path}: has scores that are not finite numbers; test again")
    if captions == 0 or not 0 <= results.truth.min() <= results.truth.max() < videos:
        raise DataError(f"{path}: truth must name one of {videos} videos for each caption")
    return results


def choose_rows(ranks: np.ndarray, count: int) -> list[int]:
    """Captions to show: spread over the ranks from best to worst, the worst tenth left out.

    The choice depends on the ranks alone, so nobody picks the flattering ones by hand.
    """
    order = np.argsort(ranks, kind="stable")
    shown = max(count, int(0.9 * len(order)))
    places = np.linspace(0, min(shown, len(order)) - 1, min(count, len(order)))
    return [int(order[int(place)]) for place in places]


def draw(results: Results, rows: Sequence[int], pictures: ClipPictures) -> np.ndarray:
    """The picture, (height, width, 3) uint8 BGR. Clips without a video have a grey square."""
    from paddlevideo.report.thumbnails import Canvas

    row_height = THUMBNAIL + LABEL + 2 * GAP
    width = TEXT + BEST * (THUMBNAIL + GAP) + 2 * GAP
    canvas = Canvas(HEADER + row_height * len(rows), width, WHITE)
    ranks = results.ranks()
    summary = (
        f"Text-to-video retrieval: {len(ranks)} captions, {len(results.video_ids)} clips, "
        f"R@1 {100 * np.mean(ranks <= 1):.1f} %, R@10 {100 * np.mean(ranks <= 10):.1f} %, "
        f"median rank {int(np.median(ranks))}"
    )
    canvas.text(summary, (GAP, 32), INK, 20, width - 2 * GAP)
    canvas.text(SCORE, (GAP, 52), GREY, 13, width - 2 * GAP)
    for number, row in enumerate(rows):
        top = HEADER + number * row_height
        canvas.line(top, GREY)
        _draw_query(canvas, results, row, top + GAP, int(ranks[row]))
        for place, column in enumerate(results.best(row)):
            left = TEXT + GAP + place * (THUMBNAIL + GAP)
            place_of = (left, top + GAP, place + 1)
            _draw_clip(canvas, results, (row, int(column)), place_of, pictures)
    return canvas.pixels


def _draw_query(canvas: Canvas, results: Results, row: int, top: int, rank: int) -> None:
    from paddlevideo.report.fonts import wrapped

    for number, line in enumerate(wrapped(str(results.captions[row]), 18, TEXT - GAP, 5)):
        canvas.text(line, (GAP, top + 22 + number * LINE), INK, 18, TEXT - GAP)
    found = rank <= BEST
    note = f"right clip: rank {rank}" + ("" if found else f" of {len(results.video_ids)}")
    canvas.text(note, (GAP, top + THUMBNAIL + 20), GREEN if found else RED, 16, TEXT - GAP)


def _draw_clip(
    canvas: Canvas,
    results: Results,
    pair: tuple[int, int],
    place: tuple[int, int, int],
    pictures: ClipPictures,
) -> None:
    from paddlevideo.report.thumbnails import thumbnail

    (row, column), (left, top, rank) = pair, place
    name, is_right = str(results.video_ids[column]), column == results.truth[row]
    picture = pictures.read(name, thumbnail, THUMBNAIL)
    if picture is not None:
        canvas.picture(picture, (left, top))
    else:
        canvas.picture(np.full((THUMBNAIL, THUMBNAIL, 3), 230, np.uint8), (left, top))
        canvas.text(name, (left + 6, top + THUMBNAIL // 2), GREY, 13, THUMBNAIL - 12)
    if is_right:
        canvas.frame((left, top), THUMBNAIL, FRAME, GREEN)
    label = f"{rank}.  score {results.scores[row, column]:.2f}"
    canvas.text(label, (left, top + THUMBNAIL + 22), GREEN if is_right else GREY, 16, THUMBNAIL)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--scores", type=as_path, required=True, help="scores.npz of a test")
    parser.add_argument("--videos", type=as_path, help="folder of clips or pictures")
    parser.add_argument("--features", type=as_path, metavar="STORE", help="names the clips' videos")
    parser.add_argument("--output", type=as_path, default=Path("retrieval.png"), help="the PNG")
    parser.add_argument("--rows", type=count, default=5, help="captions to show; default: 5")
    options = parser.parse_args(arguments)
    if not (options.videos or options.features):
        parser.error("--videos, the folder with the clips, or --features is needed")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    from paddlevideo.utils.errors import DataError

    options = parse_arguments(arguments)

    def work() -> None:
        from paddlevideo.files.writable import check_file
        from paddlevideo.prepare.origins import ClipNotes
        from paddlevideo.report.clip_pictures import ClipPictures
        from paddlevideo.report.thumbnails import write_png

        check_file(options.output, "--output")
        pictures = ClipPictures(options.videos, ClipNotes(options.features).origin)
        results = read_results(options.scores)
        rows = choose_rows(results.ranks(), options.rows)
        picture = draw(results, rows, pictures)
        for line in pictures.remarks():
            print(f"show_retrieval: {line}", file=sys.stderr)
        if not pictures.count:
            raise DataError("no clip has a picture, so none was drawn")
        write_png(options.output, picture)
        print(f"wrote {options.output}")

    return exit_code_of(work)
