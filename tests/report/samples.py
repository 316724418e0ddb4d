"""Made-up results of a retrieval test."""

from __future__ import annotations

import numpy as np

from paddlevideo.report import Query, RankedAnswer

METRICS = ("R@1", "R@5", "R@10", "MedianR", "MeanR")


def query(rank: int, direction: str = "text_to_video", number: int = 0, **changes) -> Query:
    """Query ``number`` whose right answer has ``rank``; ten answers are kept."""
    best = [
        RankedAnswer(
            f"clip{number}" if place == rank else f"clip{number + place}", 9.0 - place, False
        )
        for place in range(1, 11)
    ]
    best = [
        RankedAnswer(each.name, each.score, place == rank) for place, each in enumerate(best, 1)
    ]
    fields = {"query": f"caption {number}", "right": [f"clip{number}"], "best": best}
    return Query(**{"direction": direction, "rank": rank, **fields, **changes})


def some_queries(count: int = 40, seed: int = 0) -> list[Query]:
    """``count`` queries of each direction among ``count`` answers."""
    ranks = np.random.default_rng(seed).integers(1, count + 1, (2, count))
    return [
        query(int(rank), direction, number)
        for direction, row in zip(("text_to_video", "video_to_text"), ranks, strict=True)
        for number, rank in enumerate(row)
    ]


def metrics(*values: float) -> dict[str, float]:
    return dict(zip(METRICS, values, strict=True))


def both(*values: float) -> dict[str, dict[str, float]]:
    return {"text_to_video": metrics(*values), "video_to_text": metrics(*values)}


def results_of(queries: list[Query]) -> dict:
    """The numbers of ``queries``, with chance for as many answers as there are queries."""
    found, chance = {}, {}
    for direction in ("text_to_video", "video_to_text"):
        ranks = np.array([each.rank for each in queries if each.direction == direction])
        if len(ranks):
            recalls = [float(100 * np.mean(ranks <= k)) for k in (1, 5, 10)]
            found[direction] = metrics(*recalls, float(np.median(ranks)), float(ranks.mean()))
            lucky = [min(100 * k / len(ranks), 100.0) for k in (1, 5, 10)]
            chance[direction] = metrics(*lucky, len(ranks) // 2, (len(ranks) + 1) / 2)
    return {**found, "chance": chance}
