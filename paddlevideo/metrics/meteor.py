"""METEOR by the optional package pycocoevalcap, which runs a Java program."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from paddlevideo.metrics.captions import words_of

#: In the place of the number where it cannot be measured.
NOT_MEASURED = "not measured"
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
    score, _ = Meteor().compute_score(truth, answers)
    return float(score)
