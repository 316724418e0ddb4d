r"""Starts a search page and a JSON API for the clips of a feature file.

    paddlevideo serve -w output/ActBert_videos/ActBert_videos_best.pdparams \
        --features data/videos.store --videos data/demo/videos

Open the printed address in a browser. The first start reads and encodes all clips; with a retrieval
head, later ones read the index beside the weights. Without --host only this machine can connect;
with it, a token is asked for. Videos are played only from the folder --videos.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from paddlevideo.cli.search import add_model, configure, open_searcher
from paddlevideo.utils.command import exit_code_of, exit_on_interrupt
from paddlevideo.utils.options import Parser, as_path
from paddlevideo.utils.ranges import Range, count, number, positive

if TYPE_CHECKING:
    from paddlevideo.config import Config
    from paddlevideo.serve.clips import Clips
    from paddlevideo.serve.engine import Engine
    from paddlevideo.serve.folders import Folders

PORT = 8000


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = Parser(description=__doc__)
    add_model(parser)
    parser.add_argument(
        "--videos", type=as_path, metavar="FOLDER", help="play the videos of this folder"
    )
    parser.add_argument(
        "--candidates",
        type=count,
        default=32,
        help="most similar clips to match with a sentence; default: 32",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at; 0.0.0.0: all of this machine"
    )
    parser.add_argument(
        "--port",
        type=number(int, Range(at_least=0, at_most=65535)),
        default=PORT,
        help=f"default: {PORT}; 0: any that is free",
    )
    parser.add_argument("--token", default="", help="ask for this token; default: only with --host")
    parser.add_argument(
        "--allow_host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name under which browsers may call this server",
    )
    parser.add_argument(
        "--waiting", type=count, default=64, help="searches that may wait; default: 64"
    )
    parser.add_argument(
        "--seconds", type=positive, default=30, help="limit of a search; default: 30"
    )
    return parser.parse_args(arguments)


def make_engine(options: argparse.Namespace, config: Config, clips: Clips) -> Engine:
    """Returns the engine that the command line describes, before it is started.

    Raises DataError if the features cannot be opened.
    """
    from paddlevideo.loader.clips.opening import open_clips
    from paddlevideo.retrieval.model import RetrievalModel
    from paddlevideo.serve.engine import Engine, Limits
    from paddlevideo.serve.folders import Folders

    source = open_clips(options.features)

    def find_folders() -> Folders:
        clips.read_folder()
        return Folders([source.about(position).source for position in range(len(source))])

    return Engine(
        lambda: RetrievalModel(config, options.weights),
        lambda model, progress: open_searcher(
            options, model, options.candidates, progress=progress
        ),
        find_folders,
        Limits(options.waiting, options.seconds),
    )


def run(options: argparse.Namespace) -> None:
    """Checks what takes no time, loads the model, and serves."""
    from paddlevideo.report.clip_videos import check_videos

    check_videos(options.videos)
    with exit_on_interrupt():
        from paddlevideo.serve.app import Site
        from paddlevideo.serve.clips import Clips
        from paddlevideo.serve.server import access_for, listen, serve
    bound = listen(options.host, options.port)
    access = access_for(bound, options.host, options.allow_host, options.token)
    config = configure(options)
    clips = Clips(options.features, options.videos)
    engine = make_engine(options, config, clips)
    print(f"loading {options.weights}", file=sys.stderr)
    with exit_on_interrupt():
        engine.start()
    serve(Site(engine, clips, options.candidates), bound, access)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return exit_code_of(lambda: run(options))
