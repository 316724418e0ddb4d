"""METEOR by the optional package pycocoevalcap, which runs a Java program."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from typing import Literal

from paddlevideo.metrics.captions import words_of

log = logging.getLogger("paddlevideo")
#: In the place of the number where it cannot be measured.
NOT_MEASURED: Literal["not measured"] = "not measured"
INSTALL = 'pip install -e ".[captions]"'


def missing_for_meteor() -> str:
    """Returns what METEOR lacks here, with how to get it; "" if it can be measured."""
    try:
        import pycocoevalcap.meteor.meteor  # noqa: F401
    except ImportError as error:
        return f"METEOR needs the package pycocoevalcap: {INSTALL} ({error})"
    if shutil.which("java") is None:
        return "METEOR needs Java: install a Java runtime, so that the command java is found"
    return ""


def measured_meteor(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> float | Literal["not measured"]:
    """Returns the METEOR (0 to 1), or "not measured" where it cannot be.

    A Java program that fails is told as a warning: the other numbers of a test are not lost.
    """
    if missing_for_meteor():
        return NOT_MEASURED
    try:
        return meteor(candidates, references)
    except (OSError, ValueError) as error:  # it ended, and answers nothing
        log.warning("METEOR was not measured: its Java program failed (%s)", error)
        return NOT_MEASURED


def meteor(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Returns the METEOR (0 to 1) of N candidates (Denkowski and Lavie 2014).

    ``references``: one or more captions of each of the N clips. Call :func:`missing_for_meteor`
    first.
    """
    from pycocoevalcap.meteor.meteor import Meteor

    truth = {
        clip: [" ".join(words_of(caption)) for caption in captions]
        for clip, captions in enumerate(references)
    }
    answers = {clip: [" ".join(words_of(caption))] for clip, caption in enumerate(candidates)}
    scorer = Meteor()
    try:
        score, _ = scorer.compute_score(truth, answers)
    finally:
        if scorer.lock.locked():  # the package keeps it after an error, and waits for it for ever
            scorer.lock.release()
    return float(score)
