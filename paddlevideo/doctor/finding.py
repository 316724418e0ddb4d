"""What a check found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

OK, NOTE, PROBLEM = "ok", "note", "problem"


@dataclass(frozen=True)
class Finding:
    """One line of the report. ``advice``: what to type or to do, where something is amiss."""

    status: str
    subject: str
    says: str
    advice: str = ""


Check = Callable[[], Iterable[Finding]]


def examine(checks: Iterable[Check]) -> Iterator[Finding]:
    """What all ``checks`` find. One that breaks is a problem, and does not stop the others."""
    for check in checks:
        try:
            yield from check()
        except Exception as fault:  # whatever is broken on this machine is what is asked for
            subject = check.__name__.replace("_", " ")
            text = str(fault).strip().splitlines() or [""]
            yield Finding(PROBLEM, subject, f"{type(fault).__name__}: {text[-1]:.200}")
