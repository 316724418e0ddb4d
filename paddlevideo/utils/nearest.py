"""The most similar vectors: exactly, by matrix products, or by faiss where there are many."""

from __future__ import annotations

from typing import Any

import numpy as np

from paddlevideo.utils.errors import ConfigError

#: Similarities held at once, as numbers: 64 MB.
BLOCK = 1 << 24


def nearest(
    queries: np.ndarray, vectors: np.ndarray, count: int, faiss_from: int = 1 << 30
) -> np.ndarray:
    """Places (Q, k) int64 of the ``count`` vectors (N, D) most similar to each query (Q, D).

    The most similar comes first, of equal ones the first in ``vectors``; k is ``count``, or N if
    there are fewer. Similar means a large dot product. From ``faiss_from`` vectors on faiss's flat
    index is used, which is exact too, up to the rounding of its sums, and never holds a row of
    all similarities. Raises ConfigError where faiss is wanted and not installed.
    """
    count = min(count, len(vectors))
    if count == 0:
        return np.empty((len(queries), 0), dtype=np.int64)
    if len(vectors) >= faiss_from:
        index = _faiss().IndexFlatIP(vectors.shape[1])
        index.add(np.ascontiguousarray(vectors, dtype=np.float32))
        return index.search(np.ascontiguousarray(queries, dtype=np.float32), count)[1]
    found = np.empty((len(queries), count), dtype=np.int64)
    for rows in blocks(len(queries), len(vectors)):
        # A stable sort: equal similarities keep the order of the vectors.
        found[rows] = np.argsort(-(queries[rows] @ vectors.T), axis=1, kind="stable")[:, :count]
    return found


def blocks(rows: int, columns: int) -> list[slice]:
    """Slices over ``rows`` such that each has at most ``BLOCK`` entries of a matrix, or one row."""
    step = max(1, BLOCK // max(columns, 1))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def _faiss() -> Any:
    try:
        import faiss  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise ConfigError(
            "a gallery of this size is searched with faiss: pip install faiss-cpu, or raise "
            "MODEL.retrieval_head.faiss_from"
        ) from None
    return faiss
