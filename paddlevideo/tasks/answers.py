"""What each query of a retrieval test found, with the names of captions and videos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from paddlevideo.report.queries import Found, Query

BEST = 10  # answers that are kept


def queries_of(metric: Any, dataset: Any) -> list[Query] | None:
    """Every query with its rank and best answers; None where the test was no retrieval."""
    if not all(hasattr(dataset, name) for name in ("captions", "video_ids")):
        return None
    if not hasattr(metric, "ranking"):
        return None
    truth = dataset.truth()
    asked = np.unique(truth)
    order = np.argsort(truth, kind="stable")
    captions_of = np.split(order, np.searchsorted(truth[order], asked)[1:])
    captions, videos = dataset.captions, dataset.video_ids
    ranking = metric.ranking(truth)
    weight = metric.weight(ranking)
    ranks, best = ranking.ranks(weight), ranking.best(BEST, weight)
    sides = {
        "text_to_video": (captions, videos, truth[:, None]),
        "video_to_text": ([videos[video] for video in asked], captions, captions_of),
    }
    return [
        _query(
            way, names[row], answers, right[row], (ranks[way][row], *(x[row] for x in best[way]))
        )
        for way, (names, answers, right) in sides.items()
        for row in range(len(names))
    ]


def _query(
    direction: str,
    name: str,
    answers: Sequence[str],
    right: np.ndarray,
    found: tuple[int, np.ndarray, np.ndarray],
) -> Query:
    """``right``: places of right answers; ``found``: rank, places and scores of the best."""
    rank, places, scores = found
    best = [
        Found(answers[place], round(float(score), 4), bool(place in right))
        for place, score in zip(places.tolist(), scores, strict=True)
    ]
    return Query(direction, name, [answers[place] for place in right.tolist()], int(rank), best)
