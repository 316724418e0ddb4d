"""Captions of similar training clips, which choose among the captions that a search found.

N training captions; W fitted words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from paddlevideo.metrics.captions import NgramWeights, WeightedNgrams, count_ngrams, similarity
from paddlevideo.utils.unit_vectors import unit_rows

PADDING = 0
#: Sums an array over all ranks.
Total = Callable[[np.ndarray], np.ndarray]


class SimilarCaptions:
    """The consensus with the captions of the most similar clips (Devlin et al. 2015,
    "Exploring nearest neighbor approaches for image captioning").

    A training caption is as similar to a clip as the words that it has are to those that the fitted
    map predicts; ``count`` captions are consulted. N-grams are of word pieces.
    """

    def __init__(self, captions: np.ndarray, vectors: np.ndarray, count: int) -> None:
        """``captions`` (N, T) ids with their ends, padded with 0; ``vectors`` (N, W): the map's
        targets.
        """
        self.captions, self.count = captions, min(count, len(captions))
        self.vectors = unit_rows(vectors)

    @cached_property
    def _counts(self) -> tuple[NgramWeights, list[WeightedNgrams]]:
        counts = [count_ngrams(row[row != PADDING][:-1].tolist()) for row in self.captions]
        weights = NgramWeights([[each] for each in counts])
        return weights, [weights.vector(each) for each in counts]

    def nearest(self, hints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the captions that are the most similar to clips, and how much each counts.

        ``hints`` (B, W): what the map predicts -> indices and weights (B, ``count``); the weights
        of a clip sum to 1.
        """
        cosines = unit_rows(hints) @ self.vectors.T
        best = np.argsort(-cosines, axis=1, kind="stable")[:, : self.count]
        weights = np.maximum(np.take_along_axis(cosines, best, axis=1), 1e-6)
        return best, weights / weights.sum(axis=1, keepdims=True)

    def ratings(
        self, candidates: Sequence[Sequence[int]], nearest: np.ndarray, weights: np.ndarray
    ) -> np.ndarray:
        """Returns each candidate's weighted mean CIDEr-D / 10 with the captions ``nearest``."""
        all_weights, vectors = self._counts
        ratings = []
        for ids in candidates:
            vector = all_weights.vector(count_ngrams(list(ids)))
            similarities = [similarity(vector, vectors[index]) for index in nearest]
            ratings.append(float(np.dot(similarities, weights)))
        return np.array(ratings)


def all_rows(index: np.ndarray, rows: np.ndarray, total: Total) -> np.ndarray:
    """Returns the ``rows`` (n, T) of all ranks in the order of their ``index`` (n,), each once."""
    powers = 2 ** np.arange(48)
    reached = total((index[:, None] >= powers - 1).sum(axis=0).astype(np.float64))
    present = np.zeros(int(powers[np.flatnonzero(reached).max()]) * 2 if reached.any() else 0)
    present[index] = 1
    position = np.cumsum(total(present) > 0) - 1
    table = np.zeros((int(position[-1]) + 1 if len(position) else 0, rows.shape[1]))
    table[position[index]] = rows
    return total(table).astype(np.int64)
