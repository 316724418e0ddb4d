r"""Describes videos with trained weights: captions, answers, choices, segments or steps.

    paddlevideo predict -w output/My_captions/My_captions_best.pdparams holiday.mp4 --every 10
    paddlevideo predict -w WEIGHTS videos/ --srt subtitles/
    paddlevideo predict -w WEIGHTS holiday.mp4 --question 'what is the man holding'
    paddlevideo predict -w WEIGHTS holiday.mp4 --choice 'a dog runs' --choice 'a man sings'
    paddlevideo predict -w WEIGHTS cooking.mp4 --every 1 --steps 'cut an onion, fry it, add water'
    paddlevideo predict -w WEIGHTS cooking.mp4 --steps tasks_primary.txt --task 'Make Jello Shots'

What is predicted depends on the weights: CaptionHead writes captions, AnswerHead answers --question
or --questions, BlankHead fills in their blanks (_____), FrameHead finds segments, and a model that
matches (ActBert) chooses the best --choice, or finds --steps. Features are extracted as those of
the training clips were, or by --extraction; or they are given by --features. VIDEO is what
paddlevideo extract takes: a video, a folder, a list of paths, or a CSV with the header
video,clip,start,end; or several videos. Prints a table on a terminal, tab-separated lines in a
pipe, JSON lines with --json.

With --model: finds clips with an exported model, see paddlevideo predict --model FOLDER --help.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddlevideo.utils.command import exit_code_of, exit_on_interrupt
from paddlevideo.utils.options import Parser, add_import, add_override, as_path, as_path_text
from paddlevideo.utils.ranges import count_or_zero, positive

if TYPE_CHECKING:
    from paddlevideo.describe.model import Loaded
    from paddlevideo.loader.questions.question import Choice

#: Yields the rows of the output for a path with features.
Describe = Callable[[Path], Iterator[dict[str, Any]]]


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
    add(
        "--questions", type=as_path, metavar="FILE",
        help="a question on each line; for weights that match, a file of multiple choice, whose "
        "clips and answers may be missing",
    )  # fmt: skip
    add(
        "--choice", action="append", default=[], metavar="TEXT",
        help="a candidate for what is seen, or for the answer to --question; repeat it",
    )  # fmt: skip
    add(
        "--steps", metavar="TEXTS",
        help="steps, separated by commas, or a file of tasks of CrossTask's form",
    )  # fmt: skip
    add(
        "--task", action="append", default=[], metavar="NAME",
        help="title or id of a task of the file, if it has several; may be repeated",
    )  # fmt: skip
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
    "": (
        "the seconds of steps, or choices among candidates",
        ("steps", "task", "order", "question", "questions", "choice"),
    ),
}


def check_options(head: str, options: argparse.Namespace) -> None:
    """Raises ConfigError for an option of another kind of weights than those with ``head``."""
    from paddlevideo.utils.errors import ConfigError

    says, own = SAYS.get(head, SAYS[""])
    for name in ("question", "questions", "choice", "steps", "task", "order", "coin"):
        if getattr(options, name) and name not in own:
            raise ConfigError(f"--{name}: these weights give {says}; leave the option out")


def choices_from(options: argparse.Namespace) -> list[Choice]:
    """Returns the choices of the command line and of the file. Raises ConfigError or DataError."""
    from paddlevideo.loader.questions.choices import read_choices
    from paddlevideo.loader.questions.question import Choice
    from paddlevideo.utils.errors import ConfigError

    if options.question and not options.choice:
        raise ConfigError(
            "--question: these weights choose among candidates: give each of them with --choice"
        )
    if not all(question.strip() for question in options.question):
        raise ConfigError("--question: is empty")
    candidates = tuple(text.strip() for text in options.choice)
    asked = [question.strip() for question in options.question or [""]] if candidates else []
    given = [Choice("", "", question, candidates, -1) for question in asked]
    return [*given, *(read_choices(str(options.questions), False) if options.questions else [])]


def matcher_of(loaded: Loaded, options: argparse.Namespace) -> Describe:
    """Returns what chooses among candidates, or finds steps. Raises ConfigError or DataError."""
    from paddlevideo.describe.clips import choices_of, encode_choice
    from paddlevideo.describe.timelines import cards_from, steps_of
    from paddlevideo.utils.errors import ConfigError

    choices = choices_from(options)
    for name in ("steps", "task", "order") if choices else ():
        if getattr(options, name):
            raise ConfigError(f"--{name}: give either steps or candidates to choose from")
    if choices:
        encoded = {choice: encode_choice(loaded, choice) for choice in choices}
        return partial(choices_of, loaded, choices=encoded)
    cards = cards_from(options.steps or "", options.task)
    if not cards:
        raise ConfigError(
            "these weights match texts with clips: give --steps 'first step, second step', or "
            "--choice for each candidate, or use paddlevideo search to find clips"
        )
    loaded.check_texts(step for card in cards for step in card.steps)
    return partial(steps_of, loaded, cards=cards, order=options.order)


def describe_with(loaded: Loaded, options: argparse.Namespace) -> Describe:
    """Returns what yields what the model says of each clip or video of a path with features.

    Raises ConfigError or DataError for options that the model cannot use, before any extraction.
    """
    from paddlevideo.describe.clips import answers_of, captions_of, encode
    from paddlevideo.describe.timelines import segments_of
    from paddlevideo.retrieval.test import is_matcher
    from paddlevideo.utils.errors import ConfigError

    head = type(loaded.model.head).__name__ if hasattr(loaded.model, "head") else ""
    check_options(head, options)
    if head == "CaptionHead":
        return partial(captions_of, loaded)
    if head == "FrameHead":
        return partial(segments_of, loaded)
    if head in ("AnswerHead", "BlankHead"):
        encoded = {question: encode(loaded, question) for question in questions_of(options)}
        return partial(answers_of, loaded, questions=encoded)
    if is_matcher(loaded.model):
        return matcher_of(loaded, options)
    raise ConfigError(f"MODEL.framework: {type(loaded.model).__name__} cannot describe videos")


def run(options: argparse.Namespace) -> None:
    """Loads the weights, extracts features, and prints what the model says."""
    with exit_on_interrupt():
        from paddlevideo.describe.model import load
        from paddlevideo.describe.output import print_rows, write_coin, write_srt
        from paddlevideo.files.writable import check_file, check_folder
        from paddlevideo.inference.features import Extraction, features_of
        from paddlevideo.inference.recipe import load_recipe
        from paddlevideo.modeling import locate_weights
    check_folder(options.srt, "--srt")
    check_file(options.coin, "--coin")
    weights = locate_weights(options.weights)
    config = load_recipe(weights, options.config, options.override, options.modules)
    loaded = load(config, weights)
    describe = describe_with(loaded, options)
    wanted = Extraction(options.extraction, options.every, options.workers)
    given = options.features
    with nullcontext(given) if given else features_of(options.videos, weights, wanted) as features:
        rows = print_rows(describe(features), options.json)
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
