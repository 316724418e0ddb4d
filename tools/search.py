r"""Finds the clips that a sentence describes.

    python tools/search.py -w ActBERT.pdparams --features data/msrvtt/msrvtt_test.lmdb \
        'a man cuts an onion'

Without a sentence it asks for one after the other; from a pipe it takes one a line. The sizes come
from the config.yaml beside the weights, else from actbert_msrvtt.yaml, or from -c FILE. With a
retrieval head the clips' vectors are kept in an index beside the weights: the first search reads
and encodes all clips, later ones only the candidates.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if TYPE_CHECKING:
    from paddlevideo.tasks.search import Answer, Searcher

DEFAULT_CONFIG = "actbert_msrvtt.yaml"


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sentences", nargs="*", metavar="SENTENCE", help="what to look for")
    parser.add_argument("-w", "--weights", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--features", type=Path, required=True, metavar="LMDB", help="the clips to search in"
    )
    parser.add_argument("-c", "--config", metavar="FILE", help="YAML file of the model")
    parser.add_argument("-o", "--override", metavar="a.b=value", nargs="+", default=[])
    parser.add_argument("--best", type=int, default=10, help="clips to show (default 10)")
    parser.add_argument(
        "--candidates",
        type=int,
        default=32,
        help="clips that the retrieval head proposes for matching (default 32)",
    )
    parser.add_argument(
        "--index", type=Path, metavar="FOLDER", help="default: search_index beside the weights"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a sentence")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="write a page as well")
    parser.add_argument(
        "--videos", type=Path, metavar="FOLDER", help="clips or pictures, for the page"
    )
    options = parser.parse_args(arguments)
    if min(options.best, options.candidates) < 1:
        parser.error("--best and --candidates must be at least 1")
    return options


def config_for(weights: Path, given: str | None) -> str:
    """The configuration file to take."""
    beside = weights.parent / "config.yaml"
    return given or (str(beside) if beside.is_file() else DEFAULT_CONFIG)


def open_searcher(options: argparse.Namespace) -> Searcher:
    """The searcher that the command line asks for."""
    from paddlevideo.config import import_parts, load_config

    import_parts([])
    from paddlevideo.modeling import locate_weights
    from paddlevideo.tasks.search import Searcher

    located = locate_weights(options.weights)
    overrides = [*options.override, "MODEL.backbone.pretrained="]
    config = load_config(config_for(located, options.config), overrides)
    index = options.index or located.parent / "search_index"
    return Searcher(config, options.weights, options.features, index, options.candidates)


def asked(sentences: Sequence[str]) -> Iterator[str]:
    """The sentences of the command line, or those that come from the terminal or a pipe."""
    if sentences:
        yield from sentences
        return
    terminal = sys.stdin.isatty()
    while True:
        if terminal:
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def show(sentence: str, answers: Sequence[Answer], as_json: bool) -> None:
    """Prints the answers to one sentence: a table, or lines with tabs in a pipe."""
    if as_json:
        print(json.dumps({"sentence": sentence, "clips": [asdict(a) for a in answers]}), flush=True)
        return
    if not sys.stdout.isatty():
        for place, answer in enumerate(answers, 1):
            print(place, f"{answer.score:.4f}", answer.clip, sentence, sep="\t", flush=True)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("", "clip", "score", "match margin", "similarity", title=sentence)
    for place, answer in enumerate(answers, 1):
        numbers = (answer.score, answer.margin, answer.similarity)
        table.add_row(str(place), answer.clip, *(f"{number:.2f}" for number in numbers))
    Console().print(table)


def write_page(path: Path, found: Sequence[tuple[str, Sequence[Answer]]], videos: Path) -> None:
    """The sentences and their clips with thumbnails."""
    from paddlevideo.report import Found, Query, write_search_page

    queries = [
        Query("text_to_video", text, [], 0, [Found(a.clip, a.score, False) for a in answers])
        for text, answers in found
    ]
    write_search_page(path, queries, videos)
    print(f"wrote {path}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    from paddlevideo.utils.command import exit_code_of

    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)

    def work() -> None:
        searcher = open_searcher(options)
        found = []
        for sentence in asked(options.sentences):
            answers = searcher.find(sentence, options.best)
            show(sentence, answers, options.json)
            found.append((sentence, answers))
        if options.report:
            write_page(options.report, found, options.videos)

    return exit_code_of(work, "search")


if __name__ == "__main__":
    sys.exit(main())
