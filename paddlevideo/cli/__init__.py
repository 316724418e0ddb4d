"""The commands: ``paddlevideo VERB``, of which ``main.py`` and ``tools/*.py`` are other names.

Each module has ``main(arguments) -> exit code``. Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from paddlevideo.utils.script import as_script

#: Verb: module of this package (and function, if not ``main``), first arguments, what it does.
VERBS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "train": ("run", (), "train a model as a YAML file says"),
    "test": ("run", ("--test",), "test weights"),
    "extract": ("extract_features", (), "videos to features"),
    "pack": ("prepare_data", ("pack",), "features and captions to a feature store"),
    "validate": ("prepare_data", ("validate",), "check feature files"),
    "inspect": ("prepare_data", ("inspect",), "show what is in a feature file"),
    "convert": ("prepare_data", ("convert",), "convert a store to PaddleVideo's files, or back"),
    "search": ("search", (), "find the clips that a sentence describes"),
    "predict": ("predict", (), "match captions and clips with an exported model"),
    "export": ("export_model", (), "export a model for inference"),
    "report": ("report", (), "write the page of a test"),
    "compare": ("report.compare", (), "compare two tests, with confidence intervals"),
    "curves": ("report.curves", (), "draw the curves of training runs"),
    "doctor": ("doctor", (), "check this machine and installation"),
    "demo": ("demo", (), "render clips, train on them, test retrieval"),
}


def run_module(name: str, arguments: Sequence[str] | None = None) -> int:
    """Runs ``main`` of the module ``name``, or the function of ``module.function``.

    Ctrl-C ends their imports with one line.
    """
    as_script("__main__")
    from importlib import import_module

    module, _, function = name.partition(".")
    command = getattr(import_module(f"{__name__}.{module}"), function or "main")
    return int(command(arguments) or 0)


def main() -> int:
    """The console command ``paddlevideo``; returns its exit code."""
    verb = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if verb not in VERBS:
        width = max(map(len, VERBS))
        print("usage: paddlevideo VERB ... (paddlevideo VERB --help lists its options)\n")
        for name, (_, _, summary) in VERBS.items():
            print(f"  {name:{width}}  {summary}")
        return 0 if verb in {"-h", "--help"} else 2
    module, first, _ = VERBS[verb]
    sys.argv[0] = f"paddlevideo {verb}"
    return run_module(module, [*first, *sys.argv[2:]])
