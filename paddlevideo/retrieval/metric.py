"""The metric of text-video retrieval, for MSR-VTT and any other captions with a gallery."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.metrics.base import EvaluationData, Metric, Predictor, Writer
from paddlevideo.registry import METRICS, did_you_mean
from paddlevideo.report.queries import DIRECTIONS, Query, queries_text
from paddlevideo.retrieval.answers import (
    print_results,
    queries_of,
    write_arrays,
    write_test_page,
)
from paddlevideo.retrieval.ranks import (
    HIGHER_IS_BETTER,
    TIE_RULE,
    AllPairs,
    ListedPairs,
    Ranking,
    chance_metrics,
    dual_softmax,
    retrieval_metrics,
    summaries,
    summarize,
)
from paddlevideo.retrieval.shortlist import FirstStage, blocks
from paddlevideo.utils.errors import ConfigError, DataError, WeightsError
from paddlevideo.utils.ranges import Count

#: The weights of the similarity that a validation tries.
WEIGHTS = (0.0, *(2.0**power for power in range(-4, 5)))


@METRICS.register()
class MSRVTTMetric(Metric):
    """Recall at 1, 5 and 10, median and mean rank in both directions.

    Ties count against the positive (see ``paddlevideo.retrieval.ranks``). A test in two stages
    scores only shortlisted pairs.
    """

    def __init__(
        self,
        log_interval: Count = 1,
        best: str = "text_to_video.R@10",
        data_size: int | None = None,
        batch_size: int | None = None,
        dual_softmax: bool = False,
    ) -> None:
        """Sets up an empty metric. Raises ConfigError if ``best`` is not reported.

        Args:
            log_interval: accepted for PaddleVideo's files; has no effect.
            best: the number that selects the best checkpoint, ``direction.name``.
            data_size: has no effect.
            batch_size: has no effect.
            dual_softmax: also report the numbers after a dual softmax, which uses the other
                queries of the test and is therefore not comparable.
        """
        known = [f"{direction}.{name}" for direction in DIRECTIONS for name in HIGHER_IS_BETTER]
        if best not in known:
            raise ConfigError(
                f'METRIC.best is "{best}".{did_you_mean(best, known)} Known: {", ".join(known)}'
            )
        self.best = best
        self.higher_is_better = HIGHER_IS_BETTER[best.split(".", 1)[1]]
        self.dual_softmax = dual_softmax
        self.first: FirstStage | None = None
        self.choosing = False
        self._ranking: Ranking | None = None

    def predictor(self, model: Any, data: EvaluationData) -> Predictor:
        """Returns a predictor of match margins for a ``Matcher``, else one of ``predict``."""
        from paddlevideo.modeling import BaseFramework  # imports Paddle
        from paddlevideo.retrieval.test import MarginPredictor, is_matcher

        predicts_itself = type(model).predict is not BaseFramework.predict
        if data.context is None or predicts_itself or not is_matcher(model):
            return super().predictor(model, data)
        head = model.retrieval_head
        if head is not None and data.start == self.start:  # not for a metric that ranks by itself
            # Before a large gallery is encoded.
            _check_weight(head.weight, data.validating and head.similarity_weight == "auto")
        return MarginPredictor(model, data)

    def start(self, first: FirstStage, validating: bool = False) -> None:
        """Receives the result of the first stage, before any scores.

        ``validating``: these data may choose the weight of the similarity. Raises ConfigError if a
        dual softmax is requested, which needs every pair, DataError if a vector is not finite, and
        WeightsError if no validation has chosen the weight.
        """
        if first.shortlists is not None and self.dual_softmax:
            raise ConfigError("METRIC.dual_softmax needs the score of every pair: MODEL.top_k=0")
        for name, vectors in (("caption", first.captions), ("video", first.videos)):
            for rows in blocks(*vectors.shape):
                if not np.isfinite(vectors[rows]).all():
                    row = rows.start + int(np.argwhere(~np.isfinite(vectors[rows]))[0, 0])
                    raise DataError(f"the vector of {name} {row} is not finite. Check the weights")
        self.first, self.choosing = first, validating and first.automatic
        _check_weight(first.weight, self.choosing)

    def update(self, index: np.ndarray, predictions: np.ndarray | Sequence[np.ndarray]) -> None:
        """Adds the scores of captions that were not added before.

        Args:
            index: (B,) integers, the caption of each row.
            predictions: (B, videos) scores with all videos of the gallery, higher is better; or B
                arrays of scores with each caption's shortlisted videos.

        Raises:
            ConfigError: ``predictions`` are not scores.
            DataError: a score is not finite, or the shape is wrong.
        """
        if isinstance(predictions, Mapping):
            names = ", ".join(map(str, predictions))
            raise ConfigError(
                "METRIC.name: MSRVTTMetric ranks the clips of a gallery, but this data set has "
                f"none: the model returns {names}. Leave METRIC out, or use LossMetric, which "
                "averages them"
            )
        index = np.asarray(index)
        ragged = isinstance(predictions, (list, tuple))
        if not ragged and np.ndim(predictions) != 2:
            raise DataError(
                f"scores have the shape {np.shape(predictions)}; expected (captions, videos)"
            )
        for caption, row in zip(index, predictions, strict=False):
            finite = np.isfinite(row)
            if not finite.all():
                position = int(np.flatnonzero(~finite)[0])
                video = self._listed(int(caption), position) if ragged else position
                raise DataError(
                    f"the score of caption {caption} and video {video} is {row[position]}. "
                    "Check the weights and that video's features"
                )
        self._ranking = None
        self.collected.add(index, {"scores": predictions})

    def _listed(self, caption: int, position: int) -> int:
        assert self.first is not None and self.first.shortlists is not None
        return int(self.first.shortlists.of_caption(caption)[position])

    def merge(self, states: Iterable[Any]) -> None:
        """Adds the scores of other processes; captions that are already known are ignored."""
        self._ranking = None
        super().merge(states)

    def scores(self, captions: int | None = None) -> np.ndarray | list[np.ndarray]:
        """Returns match margins (captions, videos), or one array per caption of shortlisted ones.

        Raises:
            DataError: rows are missing.
        """
        return self.collected.in_order(captions)["scores"]

    def ranking(self, truth: np.ndarray | None = None) -> Ranking:
        """Returns the ranking of all queries, which is cached until scores are added.

        Args:
            truth: (captions,) integers, each caption's video in the gallery; None: as before.

        Raises:
            DataError: the rows of some captions are missing; the message says how many.
        """
        if truth is None:
            if self._ranking is None:
                raise RuntimeError("ranking(truth) must come first, as result(truth) calls it")
        elif self._ranking is None or not np.array_equal(self._ranking.truth, truth):
            scores = self.scores(len(truth))
            if isinstance(scores, list):
                assert self.first is not None
                self._ranking = ListedPairs(np.concatenate(scores), truth, self.first)
            else:
                self._ranking = AllPairs(scores, truth, self.first)
        return self._ranking

    def weight(self, ranking: Ranking) -> float:
        """Returns the weight of similarities: as configured, or the best for these data."""
        if self.first is None:
            return 0.0
        return self._chosen(ranking) if self.choosing else self.first.weight

    def _chosen(self, ranking: Ranking) -> float:
        """Returns the weight with the best ``METRIC.best``; among equals, the best mean rank."""
        direction, name = self.best.split(".", 1)

        def quality(weight: float) -> tuple[float, float]:
            numbers = summarize(ranking.ranks(weight)[direction])
            number = numbers[name]
            return number if self.higher_is_better else -number, -numbers["MeanR"]

        return max(WEIGHTS, key=quality)

    def result(self, truth: np.ndarray) -> dict[str, Any]:
        """Returns the numbers of both directions and, with a retrieval head, of the stages.

        Args:
            truth: (captions,) integers, each caption's video in the gallery.

        Returns:
            "text_to_video" and "video_to_text" as in ``retrieval_metrics``; with a first stage
            also "first_stage" and "match_alone" in the same form, "similarity_weight" and, with
            shortlists of length k, "R@k" in "first_stage"; "search_recall" if the search for these
            is approximate; on request "dual_softmax".

        Raises:
            DataError: the rows of some captions are missing; the message says how many.
        """
        ranking = self.ranking(truth)
        weight = self.weight(ranking)
        results: dict[str, Any] = summaries(ranking.ranks(weight))
        if self.first is not None:
            stage = summaries(ranking.first_stage_ranks)
            if isinstance(ranking, ListedPairs):
                for direction, recall in ranking.recall().items():
                    if ranking.list_length(direction):
                        stage[direction][f"R@{ranking.list_length(direction)}"] = recall
            results["first_stage"] = stage
            if self.first.found is not None:
                results["search_recall"] = asdict(self.first.found)
            results["match_alone"] = summaries(ranking.ranks(0.0))
            results["similarity_weight"] = weight
        if self.dual_softmax:
            assert isinstance(ranking, AllPairs)
            results["dual_softmax"] = retrieval_metrics(dual_softmax(ranking.scores(weight)), truth)
        return results

    def chance(self, truth: np.ndarray) -> dict[str, dict[str, float]]:
        """Returns what random scores reach on average, in the structure of ``result``."""
        return chance_metrics(truth, self.ranking(truth).videos)

    def counts(self) -> dict[str, int]:
        """Returns the number of pairs that were scored."""
        return {"pairs_scored": self.ranking().margins.size}

    def protocol(self) -> dict[str, Any]:
        """Returns the tie rule, and how lists were made if the search for them is approximate."""
        found = None if self.first is None else self.first.found
        if found is None:
            return {"ties": TIE_RULE}
        return {
            "ties": TIE_RULE,
            "first_stage": "approximate",
            "first_stage_recall": round(found.percent, 3),
        }

    def answers(self, dataset: Any) -> list[Query] | None:
        """Returns every query with its rank and best answers, if the data set names them."""
        if not all(hasattr(dataset, name) for name in ("captions", "video_ids")):
            return None
        ranking = self.ranking()
        return queries_of(ranking, self.weight(ranking), dataset.captions, dataset.video_ids)

    def warnings(self, model: Any, score_matrix: bool) -> Iterator[str]:
        """Yields a warning if the requested matrix of scores will not be written."""
        if score_matrix and getattr(model, "top_k", None):
            yield (
                "score_matrix: with MODEL.top_k only some pairs are scored, so no scores.npz is "
                "written unless all of them are: see queries.jsonl"
            )

    def files(
        self, dataset: Any, answers: Sequence[Query] | None, score_matrix: bool
    ) -> dict[str, Writer]:
        """Returns writers of ``queries.jsonl`` and, if requested, ``scores.npz``."""
        files: dict[str, Writer] = {}
        ranking = self.ranking()
        if answers is not None:
            text = queries_text(answers)
            files["queries.jsonl"] = lambda path: path.write_text(text, encoding="utf-8")
        if score_matrix and isinstance(ranking, AllPairs):
            names = ("captions", "video_ids") if answers is not None else ()
            arrays: dict[str, np.ndarray] = {"scores": ranking.scores(self.weight(ranking))}
            if self.first is not None:
                arrays |= {
                    "margins": ranking.margins,
                    "similarities": self.first.block(),
                }
            arrays |= {name: np.asarray(getattr(dataset, name)) for name in names}
            files["scores.npz"] = partial(write_arrays, {**arrays, "truth": ranking.truth})
        return files

    def show(self, results: Mapping[str, Any]) -> None:
        """Prints both directions as a table, with chance beside them."""
        super().show(results)
        print_results(results)

    def write_page(
        self,
        path: Path,
        results: Mapping[str, Any],
        answers: Sequence[Query] | None,
        videos: Path | None,
    ) -> None:
        """Writes the page of a test, if captions and clips have names."""
        if answers is None:
            super().write_page(path, results, answers, videos)
        else:
            write_test_page(path, results, answers, videos)


def _check_weight(weight: float, choosing: bool) -> None:
    """Raises WeightsError if the weight of similarities is neither known nor about to be."""
    if np.isnan(weight) and not choosing:
        raise WeightsError(
            "MODEL.retrieval_head.similarity_weight is automatic, but no validation has "
            "chosen it for these weights: train with --validate, or give a number"
        )
