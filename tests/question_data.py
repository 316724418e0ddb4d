"""Small files of questions about the clips video0, video1, ... of a retrieval set."""

from __future__ import annotations

import json
from pathlib import Path


def write_choices(path: Path, captions: Path) -> Path:
    """Every caption of a list ``clip,caption`` among those of the next two clips."""
    pairs = [line.partition(",") for line in captions.read_text().splitlines()]
    lines = ["key\tvid_key\ta1\ta2\ta3\tanswer"]
    for number, (clip, _, text) in enumerate(pairs):
        others = [pairs[(number + step) % len(pairs)][2] for step in (1, 2)]
        candidates = [*others[: number % 3], text, *others[number % 3 :]]
        lines.append("\t".join([f"q{number}", clip, *candidates, str(number % 3)]))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_blanks(path: Path, clips: int) -> Path:
    """A sentence with a blank for every clip, in LSMDC's columns; the clip decides the answer."""
    lines = []
    for number in range(clips):
        answer = "red" if number % 2 else "blue"
        texts = [f"the {answer} soup", "the _____ soup", answer]
        lines.append("\t".join([f"video{number}", *["0"] * 4, *texts]))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_open_questions(path: Path, clips: int) -> Path:
    """Two questions for every clip, in ActivityNet-QA's form; ``path`` ends with ``_q.json``."""
    questions, answers = [], []
    for number in range(clips):
        for kind, (text, answer) in {
            3: ("is it a dog", "yes" if number % 2 else "no"),
            4: ("what color is it", "red"),
        }.items():
            name = f"video{number}_{kind}"
            asked = {"video_name": f"video{number}", "question": text, "question_id": name}
            questions.append(asked)
            answers.append({"question_id": name, "answer": answer, "type": kind})
    path.write_text(json.dumps(questions))
    path.with_name(path.name.replace("_q.json", "_a.json")).write_text(json.dumps(answers))
    return path
