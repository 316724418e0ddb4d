"""Results of the checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

OK, NOTE, PROBLEM = "ok", "note", "problem"


@dataclass(frozen=True)
class Finding:
    """One line of the report. ``advice``: how to fix a problem."""

    status: str
    subject: str
    says: str
    advice: str = ""


Check = Callable[[], Iterable[Finding]]


def examine(checks: Iterable[Check]) -> Iterator[Finding]:
    """Yields the findings of all ``checks``. A check that raises is reported as a problem."""
    for check in checks:
        try:
            yield from check()
        except Exception as error:  # report whatever is broken on this machine
            subject = check.__name__.replace("_", " ")
            text = str(error).strip().splitlines() or [""]
            yield Finding(PROBLEM, subject, f"{type(error).__name__}: {text[-1]:.200}")
