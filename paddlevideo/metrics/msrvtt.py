"""Text-video retrieval on MSR-VTT and every other data set of captions and a gallery of videos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from paddlevideo.metrics.collector import RowCollector
from paddlevideo.metrics.rankings import AllPairs, ListedPairs, Ranking, first_stage_ranks
from paddlevideo.metrics.retrieval import (
    DIRECTIONS,
    HIGHER_IS_BETTER,
    TIE_RULE,
    chance_metrics,
    dual_softmax,
    retrieval_metrics,
    summarize,
)
from paddlevideo.registry import METRICS, did_you_mean
from paddlevideo.utils.errors import ConfigError, DataError, WeightsError
from paddlevideo.utils.first_stage import FirstStage
from paddlevideo.utils.ranges import Count

#: What a validation tries as the weight of the first stage's similarity.
WEIGHTS = (0.0, *(2.0**power for power in range(-4, 5)))


@METRICS.register()
class MSRVTTMetric:
    """Collects each caption's scores; reports R@1, R@5, R@10, median and mean rank, both ways.

    Ties count against the right answer (see ``paddlevideo.metrics.retrieval``). A test in two
    stages gives scores of shortlisted pairs only (see ``paddlevideo.metrics.rankings``).
    """

    ties = TIE_RULE

    def __init__(
        self,
        log_interval: Count = 1,
        best: str = "text_to_video.R@10",
        data_size: int | None = None,
        batch_size: int | None = None,
        dual_softmax: bool = False,
    ) -> None:
        """Sets up an empty metric.

        Args:
            best: the number that selects the best checkpoint, ``direction.name``.
            log_interval: accepted from PaddleVideo's files, without effect.
            data_size: likewise.
            batch_size: likewise.
            dual_softmax: also report the numbers after a dual softmax, which lets every query
                profit from the other queries of the test, and so are not comparable.

        Raises:
            ConfigError: ``best`` names nothing that is reported.
        """
        known = [f"{way}.{name}" for way in DIRECTIONS for name in HIGHER_IS_BETTER]
        if best not in known:
            raise ConfigError(
                f'METRIC.best is "{best}".{did_you_mean(best, known)} Known: {", ".join(known)}'
            )
        self.best = best
        self.higher_is_better = HIGHER_IS_BETTER[best.split(".", 1)[1]]
        self.dual_softmax = dual_softmax
        self.first: FirstStage | None = None
        self.choosing = False
        self._collector = RowCollector()

    def start(self, first: FirstStage, validating: bool = False) -> None:
        """Takes what the first stage found, before any score comes.

        Args:
            first: vectors, and the lists of pairs that will be scored.
            validating: the weight of the similarity may be chosen by these data.

        Raises:
            ConfigError: a dual softmax is asked for, which needs every pair.
            DataError: a vector is not finite.
            WeightsError: the weight ought to have been chosen before.
        """
        if first.shortlists is not None and self.dual_softmax:
            raise ConfigError("METRIC.dual_softmax needs the score of every pair: MODEL.top_k=0")
        for name, vectors in (("caption", first.captions), ("video", first.videos)):
            if not np.isfinite(vectors).all():
                row = int(np.argwhere(~np.isfinite(vectors))[0, 0])
                raise DataError(f"the vector of {name} {row} is not finite. Check the weights")
        self.first, self.choosing = first, validating and first.automatic
        if np.isnan(first.weight) and not self.choosing:
            raise WeightsError(
                "MODEL.retrieval_head.similarity_weight is automatic, but no validation has "
                "chosen it for these weights: train with --validate, or give a number"
            )

    def update(self, index: np.ndarray, predictions: np.ndarray | Sequence[np.ndarray]) -> None:
        """Keeps the scores of captions not seen before.

        Args:
            index: (B,) integers, the caption of each row.
            predictions: (B, videos), higher is better, all videos of the gallery; or B arrays
                of the scores of each caption's shortlisted videos.

        Raises:
            ConfigError: these are no scores.
            DataError: a score is not finite, or the shape is another.
        """
        if isinstance(predictions, Mapping):
            names = ", ".join(map(str, predictions))
            raise ConfigError(
                "METRIC.name: MSRVTTMetric ranks the clips of a gallery, but this data set has "
                f"none: the model gives {names}. Leave METRIC out, or write LossMetric, which "
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
                place = int(np.flatnonzero(~finite)[0])
                video = place if not ragged else self._listed(int(caption), place)
                raise DataError(
                    f"the score of caption {caption} and video {video} is {row[place]}. "
                    "Check the weights and that video's features"
                )
        self._collector.add(index, {"scores": predictions})

    def _listed(self, caption: int, place: int) -> int:
        assert self.first is not None and self.first.shortlists is not None
        return int(self.first.shortlists.of_caption(caption)[place])

    def state(self) -> dict[str, Any]:
        """What was collected so far, picklable, for ``merge`` in another process."""
        return self._collector.state()

    def merge(self, states: Iterable[Mapping[str, Any]]) -> None:
        """Adds what other processes collected; captions that are known already are left out."""
        self._collector.merge(states)

    def scores(self, captions: int | None = None) -> np.ndarray | list[np.ndarray]:
        """(captions, videos) match margins, or arrays of shortlisted ones, in captions' order.

        Raises:
            DataError: rows are missing.
        """
        return self._collector.in_order(captions)["scores"]

    @property
    def pairs(self) -> int:
        """How many pairs were scored."""
        return sum(np.size(row) for row in self.scores())

    def ranking(self, truth: np.ndarray) -> Ranking:
        """All ranks and best answers.

        Args:
            truth: (captions,) integers, each caption's video in the gallery.

        Raises:
            DataError: the rows of some captions never came; the message says how many.
        """
        scores = self.scores(len(truth))
        if isinstance(scores, list):
            assert self.first is not None
            return ListedPairs(np.concatenate(scores), truth, self.first)
        return AllPairs(scores, truth, self.first)

    def weight(self, ranking: Ranking) -> float:
        """What similarities are multiplied by: as given, or the best one for these data."""
        if self.first is None:
            return 0.0
        return self._chosen(ranking) if self.choosing else self.first.weight

    def _chosen(self, ranking: Ranking) -> float:
        """The weight with the best ``METRIC.best``; of equal ones that with the best mean rank."""
        way, name = self.best.split(".", 1)

        def quality(weight: float) -> tuple[float, float]:
            found = summarize(ranking.ranks(weight)[way])
            return found[name] if self.higher_is_better else -found[name], -found["MeanR"]

        return max(WEIGHTS, key=quality)

    def result(self, truth: np.ndarray) -> dict[str, Any]:
        """Numbers of both directions, and those of the stages where there are two.

        Args:
            truth: (captions,) integers, each caption's video in the gallery.

        Returns:
            "text_to_video" and "video_to_text" as ``retrieval_metrics`` has them; with a first
            stage also "first_stage" and "match_alone" in the same shape, "similarity_weight" and,
            if pairs were shortlisted, "R@k" of k listed ones among the first stage's numbers; on
            request "dual_softmax".

        Raises:
            DataError: the rows of some captions never came; the message says how many.
        """
        ranking = self.ranking(truth)
        weight = self.weight(ranking)
        results: dict[str, Any] = summaries(ranking.ranks(weight))
        if self.first is not None:
            stage = summaries(first_stage_ranks(self.first, truth))
            if isinstance(ranking, ListedPairs):
                for way, recall in ranking.recall().items():
                    if ranking.listed(way):
                        stage[way][f"R@{ranking.listed(way)}"] = recall
            results["first_stage"] = stage
            results["match_alone"] = summaries(ranking.ranks(0.0))
            results["similarity_weight"] = weight
        if self.dual_softmax:
            assert isinstance(ranking, AllPairs)
            scores = dual_softmax(ranking.scores(weight))
            results["dual_softmax"] = retrieval_metrics(scores, truth)
        return results

    def chance(self, truth: np.ndarray) -> dict[str, dict[str, float]]:
        """What random scores would reach on average, in the shape of ``result``."""
        scores = self.scores(len(truth))
        videos = len(self.first.videos) if self.first is not None else np.shape(scores)[1]
        return chance_metrics(truth, videos)


def summaries(ranks: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Recall, median and mean of each direction's ranks."""
    return {way: summarize(found) for way, found in ranks.items()}
