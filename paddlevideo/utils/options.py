"""Command lines: shared options, and a parser that reports mistakes in one line."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from paddlevideo.files.paths import expand_path, path_complaint
from paddlevideo.registry import did_you_mean
from paddlevideo.utils.log import FORMATS
from paddlevideo.utils.ranges import Range, number

#: The feature store of commands and recipes that are not told another.
DEFAULT_STORE = "data/videos.store"

#: The name in usage and messages; the console command sets it to "paddlevideo VERB".
program: str | None = None


def _script() -> str | None:
    """Returns the command that started a script; argparse would show the file name alone."""
    return f"python {sys.argv[0]}" if sys.argv[0].endswith(".py") else None


def as_path_text(text: str) -> str:
    """Converts an option that is a path to text, with ``~`` and ``$NAME`` replaced."""
    path = expand_path(text)
    if complaint := path_complaint(path):
        raise argparse.ArgumentTypeError(complaint)
    if not path:
        raise argparse.ArgumentTypeError("the path is empty")
    return path


def as_path(text: str) -> Path:
    """Converts an option that is a path."""
    return Path(as_path_text(text))


def add_override(
    parser: argparse.ArgumentParser,
    metavar: str = "a.b.0.c=value",
    text: str = "set a value of the configuration, read as YAML",
) -> None:
    """Adds ``-o``, which may be given several times and takes several values."""
    parser.add_argument(
        *("-o", "--override"), nargs="+", action="extend", default=[], metavar=metavar, help=text
    )


def add_import(parser: argparse.ArgumentParser) -> None:
    """Adds ``--import``, which may be given several times; its values are called ``modules``."""
    parser.add_argument(
        "--import", dest="modules", metavar="my.module", action="append", default=[],
        help="import a module that registers parts of your own",
    )  # fmt: skip


def add_log_format(parser: argparse.ArgumentParser) -> None:
    """Adds ``--log_format``, which :func:`paddlevideo.utils.log.run_in_format` reads."""
    parser.add_argument(
        "--log_format", choices=FORMATS, default="text", help="json: one JSON object per line"
    )


def as_port(text: str) -> int:
    """Converts an option that is a port; 0 stands for any that is free."""
    return int(number(int, Range(at_least=0, at_most=65535))(text))


def add_metrics_port(parser: argparse.ArgumentParser, without: str) -> None:
    """Adds ``--metrics_port`` and ``--metrics_host``. ``without``: what happens by default."""
    parser.add_argument(
        "--metrics_port",
        type=as_port,
        metavar="PORT",
        help=f"answer Prometheus at this port; 0: any that is free; default: {without}",
    )
    parser.add_argument(
        "--metrics_host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address of --metrics_port; default: 127.0.0.1, this machine only",
    )


class Parser(argparse.ArgumentParser):
    """Accepts full option names only; a mistake is one line, ``error: ...``, and exit code 2.

    ``hints``: advice for options of another program, by name.
    """

    def __init__(self, *, hints: Mapping[str, str] | None = None, **settings: Any) -> None:
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        settings.setdefault("prog", program or _script())
        super().__init__(allow_abbrev=False, **settings)
        self.hints = dict(hints or {})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse, which calls it for subcommands too; reports unknown options first.

        Otherwise a misspelt required option would be reported as missing.
        """
        given = list(sys.argv[1:] if args is None else args)
        for text in self._options_in(given):
            if text not in self._option_string_actions and not self._is_joined(text):
                self.error(self._unknown(text))
        return super().parse_known_args(given, namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse; the message for words that belong to no option suggests one."""
        options, rest = self.parse_known_args(args, namespace)
        if rest:
            self.error(f"{' '.join(rest)} belongs to no option{self._owner_of(rest[0])}")
        return options

    def _owner_of(self, text: str) -> str:
        owners = {r"[\w.]+=.*": "-o", r".*\.ya?ml": "-c", r".*\.(pdparams|safetensors)": "-w"}
        for pattern, option in owners.items():
            if option in self._option_string_actions and re.fullmatch(pattern, text):
                return f": write {option} {text}"
        return ""

    def error(self, message: str) -> NoReturn:
        """Prints the message and exits with code 2."""
        message = message.removeprefix("argument ")
        self.exit(2, f"error: {message} ({self.prog} --help lists the options)\n")

    def _options_in(self, given: Sequence[str]) -> Iterable[str]:
        """Yields the names of the options given to this parser, not to a subcommand."""
        has_commands = self._subparsers is not None
        for text in given:
            if text == "--" or (has_commands and not text.startswith("-")):
                return
            is_number = self._negative_number_matcher.match(text)
            name = text.partition("=")[0]
            if name.startswith("-") and name != "-" and " " not in name and not is_number:
                yield name

    def _is_joined(self, text: str) -> bool:
        """Whether ``text`` is a short option with its value, as ``-cFILE``, not ``-config``."""
        return (
            text[1] != "-"
            and text[:2] in self._option_string_actions
            and (f"-{text}" not in self._option_string_actions)
        )

    def _unknown(self, text: str) -> str:
        if text.lower() in self._option_string_actions:
            return f'unknown option {text}. Did you mean "{text.lower()}"?'
        known = [name for name in self._option_string_actions if name.startswith("--")]
        if text in self.hints:
            return f"there is no option {text}: {self.hints[text]}"
        return f"unknown option {text}.{_nearest(text, known)}".removesuffix(".")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As argparse; for an invalid choice the message suggests the nearest."""
        if action.choices is not None and value not in action.choices:
            known = [str(choice) for choice in action.choices]
            near = did_you_mean(str(value), known)
            raise argparse.ArgumentError(
                action, f'"{value}" is not one of {", ".join(known)}.{near}'.removesuffix(".")
            )


def _nearest(text: str, known: Sequence[str]) -> str:
    """Suggests an option for one that was cut short, spelt with hyphens, or misspelt."""
    name = "--" + text.lstrip("-").replace("-", "_").lower()
    begun = [option for option in known if option.startswith(name) or name.startswith(f"{option}_")]
    if len(begun) == 1:
        return f' Did you mean "{begun[0]}"?'
    return did_you_mean(name, known)
