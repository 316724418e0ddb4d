"""The metric of captioning tests.

N clips with one or more references each.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.captioning.subtitles import srt_files
from paddlevideo.loader.dataset.captioning import CaptionTruth
from paddlevideo.loader.dataset.msrvtt import read_pairs
from paddlevideo.metrics.base import Metric, Writer
from paddlevideo.metrics.captions import References, words_of
from paddlevideo.metrics.meteor import measured_meteor, missing_for_meteor
from paddlevideo.prepare.origins import ClipNotes
from paddlevideo.registry import METRICS, InputPath
from paddlevideo.report.captions import caption_rows, write_caption_page

log = logging.getLogger("paddlevideo")

#: The measures whose numbers are shown in percent, as tables of papers do.
PERCENT = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L")
#: Number of wrong pairings, and of draws of random captions, that a yardstick averages over.
DRAWS = 5

Answer = dict[str, Any]


@METRICS.register()
class CaptionMetric(Metric):
    """BLEU-1 to BLEU-4, ROUGE-L, METEOR, CIDEr, and the share of captions exactly as a reference.

    All in percent but CIDEr, which is COCO's CIDEr-D: 0 to 10. METEOR needs pycocoevalcap and Java;
    without them it is "not measured".

    ``training_captions``: a file of captions by clip, from which a yardstick draws at random.
    """

    def __init__(self, best: str = "CIDEr", training_captions: InputPath | None = None) -> None:
        self.best, self.training_captions = best, training_captions
        self._captions: list[str] | None = None
        self._references: tuple[CaptionTruth, References] | None = None

    def references(self, truth: CaptionTruth) -> References:
        """Returns the references of ``truth``, counted once."""
        if self._references is None or self._references[0] is not truth:
            self._references = truth, References(truth.references)
        return self._references[1]

    def captions(self, truth: CaptionTruth) -> list[str]:
        """Returns the predicted captions. Raises DataError if some are missing."""
        rows = self.collected.in_order(len(truth))
        return truth.captions(rows["words"])

    def result(self, truth: CaptionTruth) -> dict[str, Any]:
        """Returns the numbers. Raises DataError if captions are missing."""
        self._captions = self.captions(truth)
        results: dict[str, Any] = self._numbers(self._captions, truth)
        score = measured_meteor(self._captions, truth.references)
        return {**results, "METEOR": score if isinstance(score, str) else 100 * score}

    def _numbers(self, captions: Sequence[str], truth: CaptionTruth) -> dict[str, float]:
        scores = self.references(truth).scores(captions)
        numbers = {name: 100 * x if name in PERCENT else x for name, x in scores.items()}
        return {**numbers, "exact": 100 * share_exact(captions, truth.references)}

    def yardsticks(self, truth: CaptionTruth) -> dict[str, dict[str, Any]]:
        """Returns the numbers of captions that do not look at the clip, without METEOR.

        "wrong clips": the captions of this test, each given to another clip far from it in the
        list, which are clips of other videos; the mean of five such pairings.
        """
        if len(truth) < 2:
            return {}
        captions = self.captions(truth)
        size = len(captions)
        shifts = sorted({max(1, round(size * part / (DRAWS + 1))) for part in range(1, DRAWS + 1)})
        yardsticks = {
            "best constant caption": self._numbers(
                [self.references(truth).best_constant()] * size, truth
            ),
            "captions on wrong clips": self._mean(
                lambda draw: captions[shifts[draw] :] + captions[: shifts[draw]],
                truth,
                len(shifts),
            ),
        }
        if self.training_captions:
            known = [caption for _, caption in read_pairs(self.training_captions)]
            rng = np.random.default_rng(0)
            yardsticks["random training caption"] = self._mean(
                lambda draw: [known[index] for index in rng.integers(len(known), size=size)], truth
            )
        return yardsticks

    def _mean(
        self, draw: Callable[[int], list[str]], truth: CaptionTruth, draws: int = DRAWS
    ) -> dict[str, float]:
        drawn = [self._numbers(draw(number), truth) for number in range(draws)]
        return {name: float(np.mean([each[name] for each in drawn])) for name in drawn[0]}

    def protocol(self) -> dict[str, Any]:
        """Returns how the numbers are computed."""
        return {
            "captions": "lower case, without punctuation; all numbers in percent but CIDEr",
            "CIDEr": "CIDEr-D, as in pycocoevalcap 1.2; document frequencies of the references",
        }

    def warnings(self, model: Any, score_matrix: bool) -> Iterator[str]:
        """Yields what METEOR lacks."""
        yield from super().warnings(model, score_matrix)
        if missing := missing_for_meteor():
            yield missing

    def answers(self, dataset: Any) -> list[Answer] | None:
        """Returns each clip's caption and references, with its video and times if known."""
        truth = dataset.truth()
        captions = self._captions or self.captions(truth)
        rows = self.collected.in_order(len(truth))
        cider = self.references(truth).cider(captions)
        notes = ClipNotes(dataset.describe().get("features"))
        answers = []
        for index, (caption, references) in enumerate(zip(captions, truth.references, strict=True)):
            clip = dataset.name_of(index)
            answer: Answer = {
                "clip": clip,
                "caption": caption,
                "references": list(references),
                "CIDEr": round(float(cider[index]), 4),
            }
            if "scores" in rows:
                answer["log_probability"] = round(float(rows["scores"][index]), 4)
            origin = notes.origin(clip)
            if origin.video and origin.span:
                start, end = origin.span
                answer |= {"video": origin.video, "start": start, "end": end}
            answers.append(answer)
        return answers

    def files(
        self, dataset: Any, answers: Sequence[Answer] | None, score_matrix: bool
    ) -> dict[str, Writer]:
        """Returns writers of ``predictions.jsonl``, COCO's ``captions.json`` and subtitles."""
        if answers is None:
            return {}
        coco = [{"image_id": each["clip"], "caption": each["caption"]} for each in answers]
        contents = {
            "predictions.jsonl": "".join(json.dumps(each) + "\n" for each in answers).encode(),
            "captions.json": (json.dumps(coco, indent=1) + "\n").encode(),
            **srt_files(answers),
        }
        return {name: partial(_write, content) for name, content in contents.items()}

    def show(self, results: Mapping[str, Any]) -> None:
        """Prints the numbers as a table, with the yardsticks below them."""
        print_table(results)

    def write_page(
        self,
        path: Path,
        results: Mapping[str, Any],
        answers: Sequence[Answer] | None,
        videos: Path | None,
    ) -> None:
        """Writes the page of a test: numbers, and captions beside frames and references."""
        notes = ClipNotes(results["protocol"].get("features"))
        for line in write_caption_page(path, results, answers or [], videos, notes.origin):
            log.warning("%s", line)
        log.info("wrote %s", path)


def share_exact(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Returns the fraction of captions whose words are exactly those of a reference."""
    pairs = zip(captions, references, strict=True)
    right = [words_of(caption) in [words_of(each) for each in known] for caption, known in pairs]
    return float(np.mean(right))


def print_table(results: Mapping[str, Any]) -> None:
    """Prints the numbers of a test and of its yardsticks."""
    from rich.console import Console
    from rich.table import Table

    rows = caption_rows(results)
    columns = list(rows[0][1])
    table = Table("", *columns)
    for number, (name, cells) in enumerate(rows):
        style = "dim" if number else "bold"
        table.add_row(name, *(cells.get(column, "") for column in columns), style=style)
    Console(width=max(Console().width, 100)).print(table)


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)
