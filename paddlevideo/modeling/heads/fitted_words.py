"""What a caption head learns in closed form before its first step.

N captions, F features of their clips, W words.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import paddle
from paddle import Tensor, nn

from paddlevideo.utils.errors import DataError

#: Sums an array over all ranks.
Total = Callable[[np.ndarray], np.ndarray]
#: Samples in a row, whose clips are often of one video, that are left out of a map together.
BLOCK = 48


class KnownWords(nn.Layer):
    """The ``count`` most frequent words of the training captions, in order of frequency.

    Columns of logits stand for them. Before :meth:`fit` they are the first words of the vocabulary.
    """

    def __init__(self, vocabulary: int, count: int) -> None:
        super().__init__()
        self.count = min(count, vocabulary)
        self.register_buffer("ids", paddle.arange(self.count))
        columns = np.minimum(np.arange(vocabulary), self.count)
        self.register_buffer("columns", paddle.to_tensor(columns))

    def fit(self, counts: np.ndarray) -> np.ndarray | None:
        """Chooses words by their ``counts`` (V,) and returns the log of the frequency of each.

        Returns None if they are the same words as before.
        """
        chosen = np.argsort(-counts, kind="stable")[: self.count]
        if np.array_equal(chosen, self.ids.numpy()):
            return None
        columns = np.full(len(counts), self.count, np.int64)
        columns[chosen] = np.arange(self.count)
        self.ids.set_value(chosen.astype(np.int64))
        self.columns.set_value(columns)
        frequent = counts[chosen].astype(np.float64) + 0.1
        return np.log(frequent / frequent.sum()).astype(np.float32)

    def held(self, ids: np.ndarray) -> np.ndarray:
        """Returns whether captions (N, T) have each of the known words: (N, count) float32."""
        held = np.zeros((len(ids), self.count + 1), np.float32)
        held[np.arange(len(ids))[:, None], self.columns.numpy()[ids]] = 1
        return held[:, : self.count]

    def column(self, word: int) -> int:
        """Returns the column of a word; the last one if it is not known."""
        return min(int(self.columns[word]), self.count - 1)


class WordMap(nn.Layer):
    """Ridge regression from a clip's features to the words of its captions.

    The words are the ``count`` most frequent ones in at least ``rare`` captions and at most
    the share ``common`` of them. A caption's target is 1 / sqrt(p) for the words it has and p the
    share of captions that have them, centred. Features are standardized, and divided by the root of
    their number. In training, a clip gets what the map predicts that is fitted without it and its
    neighbours in the data: otherwise the decoder would rely on a map that knows its answers.
    """

    rare, common = 3, 0.6
    folds = 5

    def __init__(self, features: int, known: KnownWords, count: int, penalty: float) -> None:
        super().__init__()
        self.penalty, self.size = penalty, count
        for name, shape in {
            "mean": [features],
            "scale": [features],
            "map": [features, count],
        }.items():
            self.register_buffer(name, paddle.zeros(shape))
        #: The column of each word among the known words, and its share of the captions.
        self.register_buffer("word_columns", paddle.zeros([count], "int64"))
        self.register_buffer("share", paddle.ones([count]))
        #: The maps without each fold; weights do not contain them.
        self.fold_maps: list[Tensor] = []

    def forward(self, features: Tensor, index: Tensor | None) -> Tensor:
        """(B, F) -> (B, W). ``index`` (B,): the training samples' indices; None in a test."""
        x = (features.astype("float32") - self.mean) * self.scale
        if index is None or not self.fold_maps:
            return paddle.matmul(x, self.map).astype("float32")  # in mixed precision too
        fold = index // BLOCK % self.folds
        parts = [
            paddle.matmul(x, each).astype("float32")
            * (fold == number).astype("float32").unsqueeze(-1)
            for number, each in enumerate(self.fold_maps)
        ]
        return paddle.add_n(parts)

    def fit(self, features: np.ndarray, held: np.ndarray, index: np.ndarray, total: Total) -> None:
        """Fits the maps.

        ``features`` (N, F), ``held`` (N, V'): whether a caption has each of the known words;
        ``index`` (N,): the samples' indices.
        """
        count = float(total(np.array([len(features)], np.float64))[0])
        share = total(held.sum(axis=0, dtype=np.float64)) / count
        fitting = np.flatnonzero((share * count >= self.rare) & (share <= self.common))
        chosen = fitting[: self.size]  # known words are in order of frequency
        if not len(chosen):
            raise DataError(
                f"CaptionHead.fitted_words: no word occurs in {self.rare} captions or more, and in "
                f"at most {self.common:.0%} of them. Set it to 0 for few captions"
            )
        x = self._standardized(features, count, total)
        columns, shares = np.zeros(self.size, np.int64), np.ones(self.size)
        columns[: len(chosen)], shares[: len(chosen)] = chosen, share[chosen]
        self.word_columns.set_value(columns)
        self.share.set_value(shares.astype(np.float32))
        y = self.targets(held)[:, : len(chosen)].astype(np.float64)
        products = total(x.T @ x), total(x.T @ y)
        self.map.set_value(self._solved(*products))
        self.fold_maps = []
        for fold in range(self.folds):
            own = index // BLOCK % self.folds == fold
            squares, targets = total(x[own].T @ x[own]), total(x[own].T @ y[own])
            solved = self._solved(products[0] - squares, products[1] - targets)
            self.fold_maps.append(paddle.to_tensor(solved))

    def targets(self, held: np.ndarray) -> np.ndarray:
        """Returns what the map is fitted to (N, W); 0 for words beyond the fitted ones.

        ``held`` (N, V'): whether a caption has each of the known words.
        """
        share = self.share.numpy()
        targets = (held[:, self.word_columns.numpy()] - share) / np.sqrt(share)
        return np.where(share < 1, targets, 0.0)

    def _standardized(self, features: np.ndarray, count: float, total: Total) -> np.ndarray:
        mean = total(features.sum(axis=0, dtype=np.float64)) / count
        deviation = np.sqrt(total(((features - mean) ** 2).sum(axis=0, dtype=np.float64)) / count)
        is_constant = deviation <= 1e-6 * (1 + np.abs(mean))
        scale = np.where(is_constant, 0, 1 / np.where(is_constant, 1, deviation))
        scale /= np.sqrt(features.shape[1])
        self.mean.set_value(mean.astype(np.float32))
        self.scale.set_value(scale.astype(np.float32))
        return (features - mean) * scale

    def _solved(self, squares: np.ndarray, targets: np.ndarray) -> np.ndarray:
        squares = squares.copy()
        squares[np.diag_indices_from(squares)] += self.penalty
        solved = np.linalg.solve(squares, targets).astype(np.float32)
        return np.pad(solved, [(0, 0), (0, self.size - solved.shape[1])])
