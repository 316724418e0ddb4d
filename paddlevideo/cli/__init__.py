"""The console command ``paddlevideo VERB``; ``main.py`` and ``tools/*.py`` run the same verbs.

A verb is a function ``(arguments) -> exit code`` in a module of this package. Imports are deferred:
``paddlevideo --help`` and ``paddlevideo VERB --help`` do not load Paddle.
"""

from __future__ import annotations

import os
import sys

from paddlevideo.utils.command import begin_command, exit_code_of

#: As in ``typing``, whose import takes longer than this module's.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: By group and verb: the target and a summary. A target is a module, with the function unless that
#: is ``main``, and with leading arguments.
GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Start here": {
        "doctor": ("doctor", "check this machine and what is installed"),
        "demo": ("demo", "render clips, train on them, test retrieval (minutes)"),
    },
    "Train and test": {
        "train": ("run.train", "train the model of a YAML file"),
        "test": ("run.test", "test weights, by default on text-video retrieval on MSR-VTT"),
        "report": ("report", "write a web page with the results of a test"),
        "compare": ("report.compare", "compare two tests, with confidence intervals"),
        "curves": ("report.curves", "draw the curves of training runs"),
    },
    "Data": {
        "extract": ("extract_features", "extract features from videos into a store"),
        "split": ("split", "divide a store's clips into train, valid and test"),
        "pack": ("prepare_data pack", "pack feature files and captions into a store"),
        "validate": ("prepare_data validate", "check every record of a store"),
        "inspect": ("prepare_data inspect", "show what is in a store, in numbers and pictures"),
        "convert": ("prepare_data convert", "convert a store to PaddleVideo's files, or back"),
    },
    "Use a model": {
        "search": ("search", "find the clips that a sentence describes"),
        "serve": ("serve", "search in a browser: a page with players, and a JSON API"),
        "export": ("export_model", "export a model for inference"),
        "predict": ("predict", "describe videos, or match with an exported model"),
    },
    "For experiments": {
        "ablate": ("ablate", "train and test variants of a recipe"),
        "linear_baseline": ("linear_baseline", "fit the linear baseline of a recipe"),
        "show_retrieval": ("report.picture", "draw captions with their best clips"),
        "find_bert": ("find_bert", "print the path of the small BERT's weights"),
        "make_demo_data": ("make_demo_data", "make only the demo's data"),
    },
}
VERBS = {verb: target for group in GROUPS.values() for verb, (target, _) in group.items()}


def main() -> int:
    """Runs the console command ``paddlevideo`` and returns its exit code."""
    begin_command()
    is_module = os.path.basename(sys.argv[0]) == "__main__.py"
    program = "python -m paddlevideo" if is_module else "paddlevideo"
    if len(sys.argv) == 1:
        print(_help(program), file=sys.stderr)
        return 2
    verb, *arguments = sys.argv[1:]
    if verb in {"-h", "--help"}:
        return exit_code_of(lambda: print(_help(program)))
    if verb in {"-V", "--version"}:
        return exit_code_of(lambda: print(_version()))
    if verb not in VERBS:
        print(f"error: {_unknown(verb)} ({program} --help lists the verbs)", file=sys.stderr)
        return 2
    target, *first = VERBS[verb].split()
    from paddlevideo.utils import options

    # argparse appends the name of a subcommand, which is then the verb.
    options.program = program if first else f"{program} {verb}"
    return run_command(target, [*first, *arguments])


def run_command(
    target: str, arguments: Sequence[str] | None = None, package: str = __name__
) -> int:
    """Runs ``main`` of a module, or ``module.function``, and returns its exit code."""
    begin_command()
    from importlib import import_module

    module, _, function = target.partition(".")
    return int(getattr(import_module(f"{package}.{module}"), function or "main")(arguments))


def _help(program: str) -> str:
    width = max(map(len, VERBS))
    lines = [
        f"usage: {program} VERB ...",
        f"       {program} VERB --help",
        f"       {program} --version",
        "",
        "Trains and tests video-language models on PaddlePaddle.",
    ]
    for title, group in GROUPS.items():
        lines += ["", f"{title}:"]
        lines += [f"  {verb:{width}}  {summary}" for verb, (_, summary) in group.items()]
    return "\n".join(lines)


def _version() -> str:
    """Returns the versions of this package, of Paddle, without importing it, and of Python."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from paddlevideo import __version__

    paddle = "without Paddle"
    for name in ("paddlepaddle-gpu", "paddlepaddle"):
        try:
            paddle = f"{name} {version(name)}"
            break
        except PackageNotFoundError:
            continue
    return f"paddlevideo {__version__} ({paddle}, Python {platform.python_version()})"


def _unknown(verb: str) -> str:
    from paddlevideo.registry import did_you_mean

    if verb.startswith("-"):
        return f"{verb} must follow a verb, as in paddlevideo train -c actbert.yaml"
    name = verb.lower().replace("-", "_")
    near = f' Did you mean "{name}"?' if name in VERBS else did_you_mean(name, VERBS)
    return f'unknown verb "{verb}".{near}'.removesuffix(".")
