r"""Finds the clips that a sentence describes.

    paddlevideo search -w ActBERT.pdparams --features data/msrvtt/msrvtt_test.lmdb \
        'a man cuts an onion'

Without a sentence it prompts for sentences, or reads one per line from a pipe. The model is that
of -c FILE, of the config.yaml beside the weights, or of actbert_msrvtt.yaml. With a retrieval head,
the clips' vectors are stored in an index beside the weights: the first search reads and encodes all
clips, later ones only the candidates.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from paddlevideo.utils.command import exit_code_of, exit_on_interrupt
from paddlevideo.utils.options import Parser, add_override, as_path, as_path_text
from paddlevideo.utils.ranges import count

if TYPE_CHECKING:
    from pathlib import Path

    from paddlevideo.config import Config
    from paddlevideo.retrieval.answers import Answer
    from paddlevideo.retrieval.model import RetrievalModel
    from paddlevideo.retrieval.search import Searcher


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("sentences", nargs="*", metavar="SENTENCE", help="what to look for")
    add_model(parser)
    parser.add_argument("--best", type=count, default=10, help="clips to show; default: 10")
    parser.add_argument(
        "--candidates",
        type=count,
        help="clips that the retrieval head selects for matching; default: 32, at least --best",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per sentence")
    parser.add_argument("--report", type=as_path, metavar="FILE.html", help="also write a web page")
    parser.add_argument(
        "--videos",
        type=as_path,
        metavar="FOLDER",
        help="clips or pictures for the page; default: the videos that a feature store names",
    )
    return parser.parse_args(arguments)


def add_model(parser: Parser) -> None:
    """Adds the options for a model, the clips to search and their index."""
    parser.add_argument("-w", "--weights", type=as_path, required=True, metavar="FILE")
    parser.add_argument(
        "--features",
        type=as_path,
        metavar="STORE",
        help="the clips to search, a feature store or an LMDB; default: data of the configuration",
    )
    parser.add_argument(
        "-c", "--config", type=as_path_text, metavar="FILE", help="YAML file of the model"
    )
    add_override(parser)
    parser.add_argument(
        "--index",
        type=as_index,
        metavar="PLACE",
        help="a folder, by default search_index beside the weights; http://HOST:PORT of Milvus, "
        "whose token is that of the environment variable MILVUS_TOKEN; or a file .db",
    )
    parser.add_argument(
        "--first_stage",
        choices=("exact", "approximate"),
        help="how the most similar clips are found; default: MODEL.retrieval_head.first_stage",
    )


def as_index(text: str) -> Path | str:
    """Converts ``--index``: a path, or the address of a server."""
    from paddlevideo.retrieval.milvus_server import check_place

    try:
        check_place(text)
    except ValueError as error:  # a ConfigError
        raise argparse.ArgumentTypeError(str(error).removeprefix("--index: ")) from None
    return text if "://" in text else as_path(text)


def configure(options: argparse.Namespace) -> Config:
    """Returns the configuration that -w, -c and -o of a command line describe.

    Sets --features, if it is left out, to the clips of the configuration.
    """
    with exit_on_interrupt():
        from paddlevideo.inference.recipe import load_recipe, store_of
        from paddlevideo.modeling import locate_weights
    located = locate_weights(options.weights)
    config = load_recipe(located, options.config, options.override)
    options.features = options.features or store_of(config)
    return config


def open_searcher(
    options: argparse.Namespace, model: RetrievalModel, candidates: int, **more: Any
) -> Searcher:
    """Returns the searcher of a model for the clips and the index that a command line names."""
    from paddlevideo.retrieval.search import Searcher
    from paddlevideo.retrieval.search_index import index_place

    index = index_place(model.weights, options.index)
    return Searcher(
        model, options.features, index, candidates, first_stage=options.first_stage, **more
    )


def sentences_of(sentences: Sequence[str]) -> Iterator[str]:
    """Yields the sentences of the command line, or those typed at the terminal or piped in."""
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
    """Prints the answers to one sentence."""
    from paddlevideo.retrieval.answers import print_clips

    if as_json:
        print(json.dumps({"sentence": sentence, "clips": [asdict(a) for a in answers]}), flush=True)
        return
    numbers = {
        "score": [answer.score for answer in answers],
        "match margin": [answer.margin for answer in answers],
        "similarity": [answer.similarity for answer in answers],
    }
    print_clips(sentence, [answer.clip for answer in answers], numbers, digits=2)


def write_page(options: argparse.Namespace, answered: Mapping[str, Sequence[Answer]]) -> None:
    """Writes a page of the sentences and their clips, with captions and players."""
    from paddlevideo.prepare.origins import ClipNotes
    from paddlevideo.report import Hit, write_search_page

    notes = ClipNotes(options.features)
    hits = {
        text: [Hit(each.clip, each.score, notes.captions(each.clip)) for each in answers]
        for text, answers in answered.items()
    }
    for line in write_search_page(options.report, hits, options.videos, notes.origin):
        print(f"search: {line}", file=sys.stderr)
    print(f"wrote {options.report}", file=sys.stderr)


def find_all(
    searcher: Searcher, options: argparse.Namespace
) -> tuple[dict[str, Sequence[Answer]], int]:
    """Prints the answers to each sentence; returns them and the number of rejected sentences.

    After a rejected sentence, the search continues.
    """
    from paddlevideo.retrieval.answers import explain_scores
    from paddlevideo.utils.errors import ConfigError

    answered: dict[str, Sequence[Answer]] = {}
    rejected, explained = 0, False
    for sentence in sentences_of(options.sentences):
        try:
            answers = searcher.find(sentence, options.best)
        except ConfigError as error:
            print(f"search: {error}", file=sys.stderr)
            rejected += 1
            continue
        show(sentence, answers, options.json)
        explained = explained or explain_scores([answer.score for answer in answers])
        answered[sentence] = answers
    return answered, rejected


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = parse_arguments(arguments)
    from paddlevideo.files.writable import check_file
    from paddlevideo.report.clip_videos import check_videos
    from paddlevideo.utils.errors import ConfigError

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)

    def work() -> None:
        check_file(options.report, "--report")
        check_videos(options.videos)
        config = configure(options)
        from paddlevideo.inference.recipe import candidates_for
        from paddlevideo.retrieval.model import RetrievalModel

        candidates = candidates_for(options.best, options.candidates)
        model = RetrievalModel(config, options.weights, options.sentences)
        searcher = open_searcher(options, model, candidates)
        answered, rejected = find_all(searcher, options)
        if options.report:
            write_page(options, answered)
        if rejected and not sys.stdin.isatty():
            raise ConfigError(f"{rejected} of {rejected + len(answered)} sentences were rejected")

    return exit_code_of(work)
