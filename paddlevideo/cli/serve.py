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
from paddlevideo.utils.log import is_json, run_in_format, tell
from paddlevideo.utils.options import Parser, add_log_format, add_metrics_port, as_path, as_port
from paddlevideo.utils.ranges import count, positive

if TYPE_CHECKING:
    from paddlevideo.config import Config
    from paddlevideo.retrieval.model import RetrievalModel
    from paddlevideo.serve.clips import Clips
    from paddlevideo.serve.engine import Engine
    from paddlevideo.serve.folders import Folders
    from paddlevideo.serve.guard import Access
    from paddlevideo.serve.metrics import Metrics

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
        type=as_port,
        default=PORT,
        help=f"default: {PORT}; 0: any that is free",
    )
    parser.add_argument("--token", default="", help="ask for this token; default: only with --host")
    parser.add_argument(
        "--token_file", type=as_path, metavar="FILE", help="ask for the token in this file"
    )
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
    add_metrics_port(parser, "at /metrics, for those who may search")
    add_log_format(parser)
    parser.add_argument(
        "--log_queries", action="store_true", help="log what is searched too, with JSON"
    )
    options = parser.parse_args(arguments)
    if options.token and options.token_file:
        parser.error("give --token or --token_file, not both")
    if options.log_queries and options.log_format != "json":
        parser.error("--log_queries needs --log_format json")
    return options


def token_of(options: argparse.Namespace) -> str:
    """Returns the token of the command line or of its file, "" for none.

    Raises ConfigError if the file cannot be read or has none.
    """
    from paddlevideo.utils.errors import ConfigError

    if options.token_file is None:
        return str(options.token)
    try:
        token = options.token_file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(f"--token_file {options.token_file}: {reason}") from None
    if not token:
        raise ConfigError(f"--token_file {options.token_file}: is empty; write a token into it")
    return str(token)


def make_engine(
    options: argparse.Namespace, config: Config, clips: Clips, metrics: Metrics | None = None
) -> Engine:
    """Returns the engine that the command line describes, before it is started.

    Raises DataError if the features cannot be opened.
    """
    from paddlevideo.loader.clips.opening import open_clips
    from paddlevideo.retrieval.model import RetrievalModel
    from paddlevideo.serve.engine import Engine, Limits
    from paddlevideo.serve.folders import Folders

    source = open_clips(options.features)

    def load() -> RetrievalModel:
        import paddle

        model = RetrievalModel(config, options.weights)
        engine.metrics.describe(model.sha256, paddle.device.get_device())
        return model

    def find_folders() -> Folders:
        clips.read_folder()
        return Folders([source.about(position).source for position in range(len(source))])

    engine = Engine(
        load,
        lambda model, progress: open_searcher(
            options, model, options.candidates, progress=progress
        ),
        find_folders,
        Limits(options.waiting, options.seconds),
        metrics,
    )
    return engine


def run(options: argparse.Namespace) -> None:
    """Checks what takes no time, loads the model, and serves."""
    from paddlevideo.report.clip_videos import check_videos

    check_videos(options.videos)
    with exit_on_interrupt():
        from paddlevideo.serve.app import Site, Watching
        from paddlevideo.serve.clips import Clips
        from paddlevideo.serve.metrics import Metrics
        from paddlevideo.serve.server import access_for, listen, serve
        from paddlevideo.utils.metrics import answering
    token = token_of(options)
    bound = listen(options.host, options.port)
    access = access_for(bound, options.host, options.allow_host, token)
    if is_json():
        refuse_to_log(access, token)
    metrics = Metrics()
    with answering(metrics.registry, options.metrics_host, options.metrics_port):
        config = configure(options)
        clips = Clips(options.features, options.videos)
        engine = make_engine(options, config, clips, metrics)
        tell("loading", f"loading {options.weights}", news=True, weights=str(options.weights))
        with exit_on_interrupt():
            engine.start()
        watching = Watching(options.metrics_port is None, options.log_queries)
        serve(Site(engine, clips, options.candidates), bound, access, watching)


def refuse_to_log(access: Access, token: str) -> None:
    """Raises ConfigError if ``access`` needs a token that was made here: a log must not tell it."""
    from paddlevideo.utils.errors import ConfigError

    if access.token != token:
        raise ConfigError(
            "others can connect with --host: give --token_file FILE, because with --log_format "
            "json no token is printed"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""

    def action() -> int:
        options = parse_arguments(arguments)
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
        return exit_code_of(lambda: run(options))

    return run_in_format(arguments, action)
