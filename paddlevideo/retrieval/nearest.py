"""Searches among unit vectors: exact with NumPy, approximate with faiss.

N vectors of width D, Q queries, k results of each query. Memory is set by blocks: neither all
similarities nor, with a memory map, all vectors are ever in it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from paddlevideo.utils.errors import ConfigError

log = logging.getLogger("paddlevideo")

#: How the nearest vectors are found: the values of ``MODEL.retrieval_head.first_stage``.
FirstStageSearch = Literal["exact", "approximate"]
#: Maximum size of a block of vectors, and of one of similarities, in numbers: 64 MB.
BLOCK = 1 << 24
#: Among fewer vectors than this an approximate search would save nothing.
APPROXIMATE_FROM = 20_000
#: Vectors for each cell that k-means sees; faiss warns below 39.
TRAINED_ON = 50
ROUNDS = 10  # of k-means
SEED = 1
#: The fewest cells that a search looks into, and the largest fraction of all: beyond it an exact
#: search takes as long.
FEWEST_PROBED, MOST_PROBED = 4, 1 / 2
#: The recall to reach for a sample of queries, that sample's size, and the results of each.
RECALL, SAMPLE, SAMPLE_COUNT = 0.95, 64, 32
#: Candidates for each result, whose similarities are computed again from the whole vectors.
CANDIDATES = 2


class Vectors(Protocol):
    """Vectors (N, D) float32, all finite: an array, a memory map, or what reads like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """N and D."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> np.ndarray:
        """Returns the vectors of a slice, or at positions."""


class Nearest(Protocol):
    """Finds the vectors with the largest dot products."""

    def search(
        self, queries: np.ndarray, count: int, among: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns positions (Q, k) int64 and similarities (Q, k) float32 for queries (Q, D).

        Best first, equal ones in the order of the vectors; k is ``count``, or the number of vectors
        to search if that is less. ``among``: the vectors to search, bool (N,); by default all.
        """


def open_nearest(
    vectors: Vectors, how: FirstStageSearch, sample: np.ndarray | None = None
) -> Nearest:
    """Returns a search among vectors: an approximate one only where it would save something.

    The recall of an approximate one for ``sample``, some of the queries that will come, is logged.
    Raises ConfigError if it needs faiss, and that is not installed.
    """
    if how == "approximate" and len(vectors) >= APPROXIMATE_FROM:
        approximate = Approximate(vectors)
        approximate.tune(sample)
        return approximate
    return Exact(vectors)


def recall(found: np.ndarray, wanted: np.ndarray) -> float:
    """Returns the fraction of the positions ``wanted`` (Q, k) that are among those ``found``."""
    hits = [np.isin(row, other).sum() for row, other in zip(wanted, found, strict=True)]
    return float(np.sum(hits)) / max(wanted.size, 1)


class Exact:
    """Computes all similarities, with NumPy."""

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors

    def search(
        self, queries: np.ndarray, count: int, among: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Nearest`."""
        best = Best(len(queries), _results(count, self.vectors, among))
        if best.count:
            for positions, block in _blocks(self.vectors, among):
                for rows in _slices(len(queries), len(block)):
                    best.add(rows.start, queries[rows] @ block.T, positions)
        return best.positions, best.similarities


class Approximate:
    """Looks only into the cells of vectors that are near a query, with faiss.

    k-means divides the vectors into cells, of which each search looks into the nearest ones. There
    a vector is 8 bits for each number, so that the index takes a quarter of the vectors' memory;
    the similarities of a few times as many candidates as wanted are then computed from the vectors
    themselves. The same vectors give the same index. Against a graph of neighbours (HNSW) this is
    built several times faster and in parallel, needs less memory, and finds as much among few.
    """

    def __init__(self, vectors: Vectors, index: Any = None) -> None:
        """``index``: what :meth:`read` has read; by default it is built.

        Raises ConfigError if faiss is not installed.
        """
        self.vectors = vectors
        self._faiss = import_faiss()
        self._index = self._build() if index is None else index
        self._exact = Exact(vectors)

    @property
    def probed(self) -> int:
        """The number of cells that a search looks into, which :meth:`tune` sets."""
        return int(self._index.nprobe)

    def _build(self) -> Any:
        faiss, (size, width) = self._faiss, self.vectors.shape
        cells = cells_of(size)
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(width),
            width,
            cells,
            faiss.ScalarQuantizer.QT_8bit,
            faiss.METRIC_INNER_PRODUCT,
        )
        index.cp.niter, index.cp.seed, index.cp.spherical = ROUNDS, SEED, True
        index.cp.min_points_per_centroid = 1
        index.cp.max_points_per_centroid = TRAINED_ON
        rows = np.random.default_rng(SEED).choice(size, min(size, TRAINED_ON * cells), False)
        index.train(np.ascontiguousarray(self.vectors[np.sort(rows)], np.float32))
        for _, block in _blocks(self.vectors, None):
            index.add(np.ascontiguousarray(block, np.float32))
        return index

    def tune(self, queries: np.ndarray | None = None) -> float:
        """Chooses how many cells a search looks into, so that it finds ``RECALL`` of the nearest.

        Returns the fraction of the ``SAMPLE_COUNT`` nearest vectors that is found for ``queries``
        (Q, D), by default some of the vectors themselves, and logs it.
        """
        whose = "sentences"
        if queries is None or not len(queries):
            whose = "clips as queries"
            at = np.linspace(0, len(self.vectors) - 1, min(SAMPLE, len(self.vectors)))
            queries = self.vectors[at.astype(np.int64)]
        wanted = self._exact.search(queries, SAMPLE_COUNT)[0]
        most = max(round(self._index.nlist * MOST_PROBED), 1)
        self._index.nprobe = min(FEWEST_PROBED, most)
        while (found := self._recall(queries, wanted)) < RECALL and self.probed < most:
            self._index.nprobe = min(2 * self.probed, most)
        log.info(
            "approximate first stage: %d of %d cells are searched, which finds %.1f %% of the %d "
            "nearest of %d clips, measured with %d %s",
            *(self.probed, self._index.nlist, 100 * found, wanted.shape[1], len(self.vectors)),
            *(len(queries), whose),
        )
        return found

    def _recall(self, queries: np.ndarray, wanted: np.ndarray) -> float:
        return recall(self.search(queries, wanted.shape[1])[0], wanted)

    def write(self, path: Path) -> None:
        """Writes what was built, without the vectors. Raises OSError."""
        try:
            self._faiss.write_index(self._index, str(path))
        except RuntimeError as error:  # all that faiss raises
            raise OSError(f"{path}: {error}") from None

    @classmethod
    def read(cls, path: Path, vectors: Vectors) -> Approximate | None:
        """Returns what was written for the same vectors; None if it is absent or damaged.

        Raises ConfigError if faiss is not installed.
        """
        faiss = import_faiss()
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
        except RuntimeError:
            return None
        is_ours = isinstance(index, faiss.IndexIVFScalarQuantizer)
        if not is_ours or (index.ntotal, index.d) != tuple(vectors.shape):
            return None
        return cls(vectors, index)

    def search(
        self, queries: np.ndarray, count: int, among: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Nearest`; some of the nearest may be missing."""
        size = len(self.vectors)
        allowed = size if among is None else int(np.count_nonzero(among))
        probed = size * self.probed / self._index.nlist
        if allowed <= probed or not count:  # no more work than looking into cells
            return self._exact.search(queries, count, among)
        selected = {}  # given to the constructor, which keeps it alive
        if among is not None:
            bits = np.packbits(among, bitorder="little")
            selected = {"sel": self._faiss.IDSelectorBitmap(bits)}
        parameters = self._faiss.SearchParametersIVF(nprobe=self.probed, **selected)
        queries = np.ascontiguousarray(queries, np.float32)
        best = Best(len(queries), min(count, allowed))
        for rows in _slices(len(queries), CANDIDATES * count * self.vectors.shape[1]):
            self._search(best, rows, queries[rows], parameters)
        for row in np.flatnonzero(np.isneginf(best.similarities[:, -1:]).any(axis=1)):
            # The cells near this query hold too few that are allowed.
            found = self._exact.search(queries[row : row + 1], count, among)
            best.positions[row], best.similarities[row] = found[0][0], found[1][0]
        return best.positions, best.similarities

    def _search(self, best: Best, rows: slice, queries: np.ndarray, parameters: Any) -> None:
        """Adds the results of some queries, with the similarities of the whole vectors."""
        candidates = self._index.search(queries, CANDIDATES * best.count, params=parameters)[1]
        candidates.sort(axis=1)  # equal similarities in the order of the vectors
        needed, inverse = np.unique(candidates, return_inverse=True)  # -1 stands for none
        vectors = self.vectors[np.maximum(needed, 0)][inverse.reshape(candidates.shape)]
        similarities = np.einsum("qd,qcd->qc", queries, vectors)
        similarities[candidates < 0] = -np.inf
        best.merge(rows, similarities, candidates)


def cells_of(size: int) -> int:
    """Returns the number of cells for ``size`` vectors, a power of two near 2 sqrt(N)."""
    return 1 << round(math.log2(max(2 * math.sqrt(size), 1)))


class Best:
    """The best results so far, of blocks in the order of their positions."""

    def __init__(self, queries: int, count: int) -> None:
        self.count = count
        self.positions = np.zeros((queries, count), np.int64)
        self.similarities = np.full((queries, count), -np.inf, np.float32)

    def add(self, first: int, similarities: np.ndarray, positions: np.ndarray) -> None:
        """Adds the similarities (q, b) of queries from ``first`` on with a block (b,)."""
        least = self.similarities[first : first + len(similarities), -1:]
        above = similarities > least  # an equal one has a later position, so it ranks below
        for row in np.flatnonzero(above.any(axis=1)):
            columns = np.flatnonzero(above[row])
            columns = columns[_highest(similarities[row, columns], self.count)]
            at = slice(first + row, first + row + 1)
            self.merge(at, similarities[row, columns][None], positions[columns][None])

    def merge(self, rows: slice, similarities: np.ndarray, positions: np.ndarray) -> None:
        """Adds some similarities (q, b) of queries, equal ones in the order of their positions."""
        every = np.concatenate([self.similarities[rows], similarities], axis=1)
        order = np.argsort(-every, axis=1, kind="stable")[:, : self.count]
        known = np.concatenate([self.positions[rows], positions], axis=1)
        self.similarities[rows] = np.take_along_axis(every, order, axis=1)
        self.positions[rows] = np.take_along_axis(known, order, axis=1)


def best_of(
    parts: Sequence[tuple[np.ndarray, np.ndarray]], count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the best of several results, which share no position, as one search would."""
    positions = np.concatenate([part[0] for part in parts], axis=1)
    similarities = np.concatenate([part[1] for part in parts], axis=1)
    order = np.lexsort((positions, -similarities), axis=1)[:, :count]
    return np.take_along_axis(positions, order, 1), np.take_along_axis(similarities, order, 1)


def _highest(values: np.ndarray, count: int) -> np.ndarray:
    """Returns the indices of the ``count`` highest values (b,), best first.

    Equal ones are in their order: this is the beginning of a stable sort, without sorting all.
    """
    kept = np.arange(len(values))
    if len(values) > 2 * count:
        least = np.partition(values, -count)[-count]
        above, equal = np.flatnonzero(values > least), np.flatnonzero(values == least)
        kept = np.sort(np.concatenate([above, equal[: count - len(above)]]))
    return kept[np.argsort(-values[kept], kind="stable")[:count]]


def _results(count: int, vectors: Vectors, among: np.ndarray | None) -> int:
    """Returns the number of results of each query."""
    return min(count, len(vectors) if among is None else int(np.count_nonzero(among)))


def _blocks(vectors: Vectors, among: np.ndarray | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields positions (b,) and vectors (b, D) in order; ``among`` leaves some out."""
    for rows in _slices(len(vectors), vectors.shape[1]):
        positions = np.arange(rows.start, rows.stop)
        if among is not None:
            positions = positions[among[rows]]
        if len(positions) == rows.stop - rows.start:
            yield positions, vectors[rows]
        elif len(positions):
            yield positions, vectors[positions]


def _slices(rows: int, columns: int) -> list[slice]:
    """Returns slices of ``rows`` with at most ``BLOCK`` numbers of a matrix, or one row, each."""
    step = max(1, BLOCK // max(columns, 1))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def import_faiss() -> Any:
    """Returns the module faiss. Raises ConfigError if it is not installed."""
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells each library it tries
    try:
        import faiss  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise ConfigError(
            "an approximate first stage needs faiss: pip install faiss-cpu, or choose exact "
            "(MODEL.retrieval_head.first_stage, --first_stage)"
        ) from None
    return faiss
