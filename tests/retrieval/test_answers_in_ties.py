"""The answers of a query stand in the order that its rank follows from, also where scores tie."""

from __future__ import annotations

import numpy as np

from paddlevideo.retrieval.answers import queries_of
from paddlevideo.retrieval.ranks import AllPairs


def test_a_positive_is_listed_at_its_rank_behind_equal_scores():
    scores = np.array([[1.0, 1.0, 1.0, 0.0], [2.0, 1.0, 2.0, 2.0]])
    captions, videos = ["a", "b"], ["v0", "v1", "v2", "v3"]
    queries = queries_of(AllPairs(scores, np.array([0, 2])), 0.0, captions, videos)
    assert [query.rank for query in queries] == [3, 3, 2, 1]
    for query in queries:
        assert query.best[query.rank - 1].right
        assert not any(answer.right for answer in query.best[: query.rank - 1])
