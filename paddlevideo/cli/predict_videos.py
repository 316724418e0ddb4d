r"""Describes videos with trained weights: captions, answers, segments or steps.

    paddlevideo predict -w output/My_captions/My_captions_best.pdparams holiday.mp4 --every 10
    paddlevideo predict -w WEIGHTS videos/ --srt subtitles/
    paddlevideo predict -w WEIGHTS holiday.mp4 --question 'what is the man holding'
    paddlevideo predict -w WEIGHTS cooking.mp4 --every 1 --steps 'cut an onion, fry it, add water'
    paddlevideo predict -w WEIGHTS cooking.mp4 --steps tasks_primary.txt --task 'Make Jello Shots'

What is predicted depends on the weights: CaptionHead writes captions, AnswerHead answers --question
or --questions, BlankHead fills in their blanks (_____), FrameHead finds segments, and a model that
matches (ActBert) finds --steps. Features are extracted as those of the training clips were, or by
--extraction; or they are given by --features. VIDEO is what paddlevideo extract takes: a video, a
folder, a list of paths, or a CSV with the header video,clip,start,end; or several videos. Prints a
table on a terminal, tab-separated lines in a pipe, JSON lines with --json.

With --model: finds clips with an exported model, see paddlevideo predict --model FOLDER --help.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddlevideo.utils.command import exit_code_of, exit_on_interrupt
from paddlevideo.utils.options import Parser, add_import, add_override, as_path, as_path_text
from paddlevideo.utils.ranges import count_or_zero, positive

if TYPE_CHECKING:
    from paddlevideo.describe.model import Loaded


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("videos", nargs="*", type=as_path, metavar="VIDEO", help="see above")
    add("-w", "--weights", type=as_path, required=True, help="trained weights")
    add(
        "-c", "--config", type=as_path_text,
        help="their recipe; default: the config.yaml beside the weights",
    )  # fmt: skip
    add_override(parser)
    add_import(parser)
    add(
        "--features", type=as_path, metavar="PATH",
        help="describe clips with these features: a store or an LMDB; for segments and steps also "
        "<video>.npy, or a folder of them, with a row for each second",
    )  # fmt: skip
    add("--extraction", type=as_path_text, metavar="YAML", help="how to extract features")
    add("--every", type=positive, metavar="SECONDS", help="divide videos into clips this long")
    add("--workers", type=count_or_zero, metavar="N", help="processes that extract")
    add("--question", action="append", default=[], metavar="TEXT", help="may be repeated")
    add("--questions", type=as_path, metavar="FILE", help="a question on each line")
    add(
        "--steps", metavar="TEXTS",
        help="steps, separated by commas, or a file of tasks of CrossTask's form",
    )  # fmt: skip
    add("--task", metavar="NAME", help="title or id of the task, if the file has several")
    add(
        "--order", choices=("listed", "free"),
        help="whether steps follow each other as listed, or each is found alone; default: as in "
        "the recipe, else listed",
    )  # fmt: skip
    add("--srt", type=as_path, metavar="FOLDER", help="also write what has times as subtitles")
    add("--coin", type=as_path, metavar="FILE", help="also write segments in COIN's form")
    add("--json", action="store_true", help="print JSON lines")
    options = parser.parse_args(arguments)
    if bool(options.videos) == bool(options.features):
        parser.error("give videos, or --features STORE with those of clips")
    for name in ("every", "extraction", "workers"):
        if options.features and getattr(options, name) is not None:
            parser.error(f"--{name} is for videos: --features has been extracted already")
    return options


def questions_of(options: argparse.Namespace) -> list[str]:
    """Returns the questions of the command line and of the file. Raises ConfigError."""
    from paddlevideo.utils.errors import ConfigError
    from paddlevideo.utils.text_files import text_lines

    read = text_lines(options.questions) if options.questions else []
    questions = [*options.question, *(line for _, line in read)]
    if not all(question.strip() for question in questions):
        raise ConfigError("--question: is empty")
    if not questions:
        raise ConfigError("these weights answer questions: give --question or --questions FILE")
    return questions


#: What each head says, and the options that belong to it.
SAYS = {
    "CaptionHead": ("captions", ()),
    "AnswerHead": ("answers to questions", ("question", "questions")),
    "BlankHead": ("words for blanks", ("question", "questions")),
    "FrameHead": ("segments", ("coin",)),
    "": ("the seconds of steps", ("steps", "task", "order")),
}


def check_options(head: str, options: argparse.Namespace) -> None:
    """Raises ConfigError for an option of another kind of weights than those with ``head``."""
    from paddlevideo.utils.errors import ConfigError

    says, own = SAYS.get(head, SAYS[""])
    for name in ("question", "questions", "steps", "task", "order", "coin"):
        if getattr(options, name) and name not in own:
            raise ConfigError(f"--{name}: these weights give {says}; leave the option out")


def rows_of(
    loaded: Loaded, features: Path, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Returns what the model says of each clip or video. Raises ConfigError for missing options."""
    from paddlevideo.describe.clips import answers_of, captions_of
    from paddlevideo.describe.timelines import segments_of, steps_from, steps_of
    from paddlevideo.retrieval.test import is_matcher
    from paddlevideo.utils.errors import ConfigError

    head = type(loaded.model.head).__name__ if hasattr(loaded.model, "head") else ""
    check_options(head, options)
    if head == "CaptionHead":
        return captions_of(loaded, features)
    if head == "FrameHead":
        return segments_of(loaded, features)
    if head in ("AnswerHead", "BlankHead"):
        return answers_of(loaded, features, questions_of(options))
    if is_matcher(loaded.model):
        steps = steps_from(options.steps or "", options.task)
        if not steps:
            raise ConfigError(
                "these weights match texts with clips: give --steps 'first step, second step', or "
                "use paddlevideo search to find clips"
            )
        return steps_of(loaded, features, steps, options.order)
    raise ConfigError(f"MODEL.framework: {type(loaded.model).__name__} cannot describe videos")


def run(options: argparse.Namespace) -> None:
    """Loads the weights, extracts features, and prints what the model says."""
    with exit_on_interrupt():
        from paddlevideo.cli.search import config_for
        from paddlevideo.config import import_parts, load_config, modules_of
        from paddlevideo.describe.features import Extraction, features_of
        from paddlevideo.describe.model import load
        from paddlevideo.describe.output import print_rows, write_coin, write_srt
        from paddlevideo.files.writable import check_file, check_folder
        from paddlevideo.modeling import locate_weights
    check_folder(options.srt, "--srt")
    check_file(options.coin, "--coin")
    weights = locate_weights(options.weights)
    overrides = [*options.override, "MODEL.backbone.pretrained="]
    config = load_config(config_for(weights, options.config), overrides)
    # Modules run code: only a file that the user has given may import them.
    import_parts([*options.modules, *(modules_of(config) if options.config else [])])
    loaded = load(config, weights)
    wanted = Extraction(options.extraction, options.every, options.workers)
    given = options.features
    with nullcontext(given) if given else features_of(options.videos, weights, wanted) as features:
        rows = print_rows(rows_of(loaded, features, options), options.json)
        written = write_srt(rows, options.srt) if options.srt else []
        if options.coin:
            write_coin(rows, loaded.model.head.names, options.coin)
            written.append(options.coin)
    for path in written:
        print(f"wrote {path}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    return exit_code_of(lambda: run(options))
