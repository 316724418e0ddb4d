"""Questions about clips, as the readers of this package return them."""

from __future__ import annotations

from dataclasses import dataclass

from paddlevideo.loader.captions.matching import videos_of


@dataclass(frozen=True)
class Question:
    """A question with its answer, or a sentence with a blank and the word in it.

    ``where``: file and line or entry, for messages.
    """

    id: str
    clip: str
    text: str
    answer: str
    kind: str = ""  # the type of question; "": the file has none
    where: str = ""


@dataclass(frozen=True)
class Choice:
    """Candidate texts for a clip, of which one is right.

    ``question`` is "" where the candidates are captions. Without a test ``clip`` may be "", any
    clip, and ``answer`` -1, unknown. ``where``: file and line or entry.
    """

    id: str
    clip: str
    question: str
    candidates: tuple[str, ...]
    answer: int  # its position among the candidates, from 0
    kind: str = ""
    where: str = ""

    @property
    def texts(self) -> list[str]:
        """The candidates as texts to match with the clip, each after the question."""
        return [f"{self.question} {candidate}".strip() for candidate in self.candidates]


def video_of(clip: str) -> str:
    """Returns the video that a clip VIDEO_NUMBER or VIDEO_START_END is part of, else the clip."""
    return next(iter(videos_of(clip)), clip)
