"""Commands that make pages, pictures and tables from files of tests and training runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddlevideo.utils.command import exit_code_of
from paddlevideo.utils.options import Parser, as_path
from paddlevideo.utils.ranges import count, count_or_zero

if TYPE_CHECKING:
    import numpy as np

    from paddlevideo.metrics.bootstrap import Difference
    from paddlevideo.prepare.origins import ClipNotes
    from paddlevideo.report import Query

#: Direction, text of the query, and an index among equal texts.
Key = tuple[str, str, int]


def print_remarks(command: str, lines: Iterable[str]) -> None:
    """Prints remarks about a page or picture to standard error."""
    for line in lines:
        print(f"{command}: {line}", file=sys.stderr)


# ---------------------------------------------------------------------------------- page

PAGE = r"""Writes the page of a retrieval test: numbers, ranks and best clips.

    paddlevideo report --results output/ActBert_demo --videos data/demo/videos

The folder contains results.json and queries.jsonl, which paddlevideo test writes. The page is one
self-contained HTML file without scripts. If a feature store was tested, pictures come from the
videos that it names; --videos is for other or moved videos.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``paddlevideo report`` and returns its exit code."""
    parser = Parser(description=PAGE)
    parser.add_argument("--results", type=as_path, required=True, help="output folder of a test")
    parser.add_argument(
        "--videos", type=as_path, help="folder of clips or pictures, for thumbnails"
    )
    parser.add_argument(
        "--output", type=as_path, help="the page to write; default: report.html in --results"
    )
    parser.add_argument("--features", type=as_path, metavar="STORE", help="default: the tested one")
    parser.add_argument(
        "--shown",
        type=count_or_zero,
        default=20,
        help="queries of each direction to show; default: 20",
    )
    options = parser.parse_args(arguments)
    output = options.output or options.results / "report.html"

    def work() -> None:
        from paddlevideo.files.writable import check_file
        from paddlevideo.report import read_queries, write_report
        from paddlevideo.report.clip_videos import check_videos

        check_file(output, "--output")
        check_videos(options.videos)
        results = read_results(options.results / "results.json")
        queries = read_queries(options.results / "queries.jsonl")
        notes = notes_of(options.features, results)
        videos, shown = options.videos, options.shown
        print_remarks("report", write_report(output, results, queries, videos, shown, notes.origin))
        print(f"wrote {output}")

    return exit_code_of(work)


def read_results(path: Path) -> dict[str, Any]:
    """Reads ``results.json``. Raises DataError if it is not that of a retrieval test."""
    from paddlevideo.utils.errors import DataError

    advice = "expected a file written by main.py --test"
    try:
        results = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {advice}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}); {advice}") from None
    if not isinstance(results, dict) or "text_to_video" not in results:
        raise DataError(
            f'{path}: has no "text_to_video", so it is not of a retrieval test; {advice}'
        )
    return results


def notes_of(features: Path | None, results: dict[str, Any]) -> ClipNotes:
    """Returns origins and captions of clips from ``features``, or from the tested features."""
    from paddlevideo.prepare.origins import ClipNotes
    from paddlevideo.report.tables import part
    from paddlevideo.utils.errors import DataError

    tested = part(results, "protocol").get("features")
    if features is not None or not isinstance(tested, str):
        return ClipNotes(features)
    try:
        return ClipNotes(tested)
    except DataError:
        return ClipNotes(None)


# ------------------------------------------------------------------------------- picture

PICTURE = r"""Draws results of a retrieval test: each row has a caption and its five best clips.

    paddlevideo show_retrieval --scores output/ActBert_demo/scores.npz \
        --videos data/demo/videos --output output/ActBert_demo/retrieval.png

paddlevideo test writes scores.npz with score_matrix: True. The correct clip has a green frame; if
it is not among the best five, its rank is shown. A score is the match margin plus the weighted
similarity. --features is the tested feature store, which names the clips' videos.
"""
SCORE = "score: match margin plus weighted similarity; below 0 a mismatch is more likely"


def picture(arguments: Sequence[str] | None = None) -> int:
    """Runs ``paddlevideo show_retrieval`` and returns its exit code."""
    parser = Parser(description=PICTURE)
    parser.add_argument("--scores", type=as_path, required=True, help="scores.npz of a test")
    parser.add_argument("--videos", type=as_path, help="folder of clips or pictures")
    parser.add_argument(
        "--features", type=as_path, metavar="STORE", help="store that names the videos"
    )
    parser.add_argument("--output", type=as_path, default=Path("retrieval.png"), help="the PNG")
    parser.add_argument("--rows", type=count, default=5, help="captions to show; default: 5")
    options = parser.parse_args(arguments)
    if not (options.videos or options.features):
        parser.error("--videos, the folder with the clips, or --features is required")

    def work() -> None:
        import numpy as np

        from paddlevideo.files.writable import check_file
        from paddlevideo.prepare.origins import ClipNotes
        from paddlevideo.report.clip_pictures import ClipPictures
        from paddlevideo.retrieval.ranks import summarize
        from paddlevideo.utils.errors import DataError

        check_file(options.output, "--output")
        pictures = ClipPictures(options.videos, ClipNotes(options.features).origin)
        queries, videos = read_scores(options.scores)
        from paddlevideo.report.query_picture import draw_queries
        from paddlevideo.report.thumbnails import write_png

        metrics = summarize(np.array([query.rank for query in queries]))
        title = (
            f"Text-to-video retrieval: {len(queries)} captions, {videos} clips, "
            f"R@1 {metrics['R@1']:.1f} %, R@10 {metrics['R@10']:.1f} %, "
            f"median rank {metrics['MedianR']:.0f}"
        )
        drawn = draw_queries(spread(queries, options.rows), title, SCORE, videos, pictures)
        print_remarks("show_retrieval", pictures.remarks())
        if not pictures.count:
            raise DataError("no clip has a picture, so nothing was written")
        write_png(options.output, drawn)
        print(f"wrote {options.output}")

    return exit_code_of(work)


def read_scores(path: Path) -> tuple[list[Query], int]:
    """Returns the captions of a ``scores.npz`` with their best clips, and the number of clips.

    Raises DataError if the file is not that of a test.
    """
    from paddlevideo.files.npz import read_npz
    from paddlevideo.files.whole import check_together
    from paddlevideo.retrieval.answers import queries_of
    from paddlevideo.retrieval.ranks import AllPairs
    from paddlevideo.utils.errors import DataError

    check_together(path)
    names = ("scores", "captions", "video_ids", "truth")
    advice = "expected a file written by main.py --test with -o score_matrix=True"
    try:
        arrays = read_npz(path, names)
    except DataError as error:
        raise DataError(f"{error}; {advice}") from None
    if missing := set(names) - arrays.keys():
        raise DataError(f"{path}: has no {', '.join(sorted(missing))}; {advice}")
    sides = arrays["captions"].tolist(), arrays["video_ids"].tolist()
    shape = tuple(map(len, sides))
    if arrays["scores"].shape != shape:
        raise DataError(
            f"{path}: scores {arrays['scores'].shape} do not fit {shape} names; {advice}"
        )
    try:
        queries = queries_of(AllPairs(arrays["scores"], arrays["truth"]), 0.0, *sides)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    captions = [query for query in queries if query.direction == "text_to_video"]
    return captions, len(sides[1])


def spread(queries: Sequence[Query], count: int) -> list[Query]:
    """Returns at most ``count`` queries, evenly spread over the best nine tenths of the ranks.

    The choice depends only on the ranks, so examples are not cherry-picked.
    """
    import numpy as np

    ordered = sorted(queries, key=lambda query: query.rank)
    last = min(max(count, int(0.9 * len(ordered))), len(ordered)) - 1
    indices = np.linspace(0, last, min(count, len(ordered)))
    return [ordered[int(index)] for index in indices]


# -------------------------------------------------------------------------------- curves

CURVES = r"""Draws the curves of one or several training runs.

    paddlevideo curves output/ActBert/train.jsonl -o curves.png
    paddlevideo curves output/first output/second -o both.png

Training draws its own curves when it ends. A folder stands for the train.jsonl in it.
"""


def curves(arguments: Sequence[str] | None = None) -> int:
    """Runs ``paddlevideo curves`` and returns its exit code."""
    parser = Parser(description=CURVES)
    parser.add_argument(
        "runs", type=as_path, nargs="+", metavar="train.jsonl", help="file or folder"
    )
    parser.add_argument("-o", "--output", type=as_path, default=Path("curves.png"), help="a .png")
    options = parser.parse_args(arguments)

    def work() -> None:
        from paddlevideo.files.writable import check_file
        from paddlevideo.report.curves import MOST_RUNS, write_curves
        from paddlevideo.report.history import read_history
        from paddlevideo.utils.errors import ConfigError

        check_file(options.output, "--output")
        if len(options.runs) > MOST_RUNS:
            raise ConfigError(f"{len(options.runs)} runs: at most {MOST_RUNS} can be drawn")
        named = zip(options.runs, names_of(options.runs), strict=True)
        write_curves(options.output, [read_history(path, name) for path, name in named])
        print(f"wrote {options.output}")

    return exit_code_of(work)


def names_of(paths: Sequence[Path]) -> list[str]:
    """Returns the runs' folders, with as many parents as needed to distinguish them."""
    folders = [(path if path.is_dir() else path.parent).resolve() for path in paths]
    for depth in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(names)) == len(set(folders)):
            break
    return names


# ------------------------------------------------------------------------------- compare

COMPARE = r"""Compares two rankings of the same test, with confidence intervals of the difference.

    paddlevideo compare output/new/queries.jsonl --with output/old/queries.jsonl
    paddlevideo compare new0.jsonl new1.jsonl new2.jsonl --with old0.jsonl old1.jsonl

Files are written by paddlevideo test, or by paddlevideo linear_baseline --queries; several files on
a side are runs with different seeds. Prints R@1, R@5 and R@10 in both directions, their difference,
and the interval that contains 95 % of the differences in resampled tests.
"""


def compare(arguments: Sequence[str] | None = None) -> int:
    """Runs ``paddlevideo compare`` and returns its exit code."""
    parser = Parser(description=COMPARE)
    parser.add_argument("first", type=as_path, nargs="+", metavar="queries.jsonl")
    parser.add_argument(
        *("--with", "-w"), dest="second", type=as_path, nargs="+", required=True, metavar="OTHER"
    )
    parser.add_argument(
        "--samples", type=count, default=10_000, help="resampled tests; default: 10,000"
    )
    parser.add_argument(
        "--json", type=as_path, metavar="FILE", help="also write the numbers as JSON"
    )
    options = parser.parse_args(arguments)

    def work() -> None:
        from paddlevideo.files.whole import write_json_whole
        from paddlevideo.files.writable import check_file

        check_file(options.json, "--json")
        differences = differences_of(options)
        if options.json:
            numbers = {
                direction: {name: asdict(each) for name, each in by_name.items()}
                for direction, by_name in differences.items()
            }
            write_json_whole(options.json, numbers)

    return exit_code_of(work)


def differences_of(options: argparse.Namespace) -> dict[str, dict[str, Difference]]:
    """Compares, prints and returns the differences by direction. Raises DataError."""
    from paddlevideo.metrics.bootstrap import paired_difference
    from paddlevideo.report.queries import DIRECTIONS
    from paddlevideo.retrieval.ranks import RECALL_AT
    from paddlevideo.utils.errors import DataError

    differences: dict[str, dict[str, Difference]] = {}
    for direction in DIRECTIONS:
        first, second = aligned(options.first, options.second, direction)
        if not first.size:
            continue
        by_name = {
            f"R@{k}": paired_difference(first, second, k, options.samples) for k in RECALL_AT
        }
        differences[direction] = by_name
        print(f"{direction}: {first.shape[1]} queries, {len(first)} against {len(second)} run(s)")
        print(f"  {'':5s} {'first':>6s} {'second':>7s} {'difference':>11s}   95 %")
        for name, one in by_name.items():
            interval = f"{one.low:+.1f} to {one.high:+.1f}"
            print(f"  {name:5s} {one.first:6.1f} {one.second:7.1f} {one.value:+11.1f}   {interval}")
    if not differences:
        raise DataError(f"{options.first[0]}: contains no queries")
    return differences


def aligned(
    paths: Sequence[Path], others: Sequence[Path], direction: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ranks (files, queries) of both sides, with equal columns.

    Raises DataError, with the file, if its queries are not those of the first file.
    """
    import numpy as np

    from paddlevideo.utils.errors import DataError

    files = [(path, read_ranks(path)) for path in (*paths, *others)]
    order = [key for key in files[0][1] if key[0] == direction]
    for path, ranks in files:
        differing = {key for key in ranks if key[0] == direction} ^ set(order)
        if differing:
            raise DataError(
                f"{path}: {len(differing)} queries are only here or only in {paths[0]}, such as "
                f'"{sorted(differing)[0][1]}": the tests have different captions or clips'
            )
    table = np.array([[ranks[key] for key in order] for _, ranks in files])
    return table[: len(paths)], table[len(paths) :]


def read_ranks(path: Path) -> dict[Key, int]:
    """Returns the rank of each query in a ``queries.jsonl``. Raises DataError."""
    from paddlevideo.report import read_queries

    seen: Counter[tuple[str, str]] = Counter()
    ranks: dict[Key, int] = {}
    for query in read_queries(path):
        text = (query.direction, query.query)
        ranks[(*text, seen[text])] = query.rank
        seen[text] += 1
    return ranks
