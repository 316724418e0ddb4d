"""The index of a search in Milvus: on a server, or in a file ``.db`` with Milvus Lite.

A feature file and the weights have a collection of their own, whose rows are the keys of clips
(clip_keys.py) and their vectors. An alias whose name holds a checksum of all clips marks it as
complete: it is made last, and removed before anything is changed. A search that finds none
compares the keys and continues, so that nothing half-built is taken for whole.

N clips, Q queries, D the width of the vectors.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.retrieval.clip_keys import SIZE, ClipKeys, KeyTable
from paddlevideo.retrieval.milvus_server import (
    FLUSH_SECONDS,
    SEARCH_SECONDS,
    IndexAway,
    IndexChanged,
    MilvusServer,
)
from paddlevideo.retrieval.nearest import (
    RECALL,
    SAMPLE_COUNT,
    Best,
    FirstStageSearch,
    best_of,
    recall,
)
from paddlevideo.utils.errors import ConfigError, UserError

log = logging.getLogger("paddlevideo")

#: Clips that are written at once, and keys that are read at once.
WRITTEN, READ = 1000, 5000
#: Milvus's limit of results, and the keys that a filter names.
MOST, NAMED = 16_384, 10_000
#: Of the graph of neighbours: the edges of a vector, and the candidates when it is built.
GRAPH = {"M": 16, "efConstruction": 200}
#: Candidates of a search in it: from, to.
FEWEST, LARGEST = 64, 1024
OPENING = "opening the index"


class MilvusIndex:
    """A collection that holds the vectors of all clips of a feature file."""

    def __init__(self, place: Path | str, clips: ClipKeys, about: Mapping[str, Any]) -> None:
        """``about``: what the vectors depend on, apart from the clips, as JSON.

        Raises ConfigError without pymilvus, or for a wrong address.
        """
        self._clips, self._table = clips, KeyTable(clips.keys)
        named = json.dumps([about, clips.features["path"]], sort_keys=True, default=str)
        digest = hashlib.sha256(named.encode("utf-8", "backslashreplace")).hexdigest()
        self.collection = f"paddlevideo_{digest[:32]}"
        self._candidates = 0  # of a search in a graph; 0: the index is exact
        if isinstance(place, Path):
            place.absolute().parent.mkdir(parents=True, exist_ok=True)
        self._server = MilvusServer(place)

    def _ask(self, doing: str, request: str, **words: Any) -> Any:
        """Returns the answer to a request about the collection. Raises IndexAway."""
        return self._server.ask(doing, request, self.collection, **words)

    def fill(
        self,
        encode: Callable[[np.ndarray], Iterator[np.ndarray]],
        width: int,
        how: FirstStageSearch,
        sample: Callable[[], np.ndarray | None],
    ) -> None:
        """Adds the vectors of clips that are new, those of ``encode``, and removes others.

        ``how``: "exact" compares with all vectors, "approximate" walks a graph of neighbours, whose
        recall for the queries of ``sample`` is measured and logged. Raises IndexAway.
        """
        if self._is_complete(how):
            return
        self._candidates = 0
        self._begin(width, how)
        known = self._known_keys()
        extra = known[self._table.rows(known) < 0]
        missing = np.flatnonzero(KeyTable(known).rows(self._clips.keys) < 0)
        self._remove(extra)
        self._add(self._clips.keys[missing], encode(missing))
        self._ask("writing vectors", "flush", seconds=FLUSH_SECONDS)
        if how == "approximate":
            self._tune(sample())
        self._finish()
        log.info(
            "indexed %d of %d clips: %s, collection %s",
            *(len(missing), len(self._clips), self._server.address, self.collection),
        )

    # --------------------------------------------------------------------- whether it is whole

    @property
    def _mark(self) -> str:
        """The beginning of the alias of a complete collection."""
        return f"{self.collection}_is_{self._clips.digest[:32]}_"

    def _aliases(self) -> list[str]:
        return list(self._ask(OPENING, "list_aliases")["aliases"])

    def _is_complete(self, how: FirstStageSearch) -> bool:
        """Whether the collection holds all clips and no others, and is searched so."""
        if not self._ask(OPENING, "has_collection"):
            return False
        wanted = f"{self._mark}{'exact' if how == 'exact' else 'graph'}"
        found = [name for name in self._aliases() if name.startswith(wanted)]
        if not found:
            return False
        self._candidates = int(found[0].removeprefix(wanted) or 0)
        self._load()
        return self._count() == len(self._clips)

    def _count(self) -> int:
        words = {"output_fields": ["count(*)"], "consistency_level": "Strong"}
        return int(self._ask("counting clips", "query", **words)[0]["count(*)"])

    def _begin(self, width: int, how: FirstStageSearch) -> None:
        """Makes the collection, or removes the mark of what it held."""
        kind = "FLAT" if how == "exact" else "HNSW"
        if self._ask(OPENING, "has_collection"):
            for alias in self._aliases():
                self._server.ask(OPENING, "drop_alias", alias)
            found = self._kind_of_index()
            if found != kind:
                self._ask(OPENING, "release_collection")
                if found:
                    self._ask(OPENING, "drop_index", index_name="vector")
                self._create_index(kind)
        else:
            types, schema = self._server.pymilvus.DataType, self._server.pymilvus.MilvusClient
            fields = schema.create_schema(auto_id=False, enable_dynamic_field=False)
            fields.add_field("key", types.VARCHAR, is_primary=True, max_length=2 * SIZE)
            fields.add_field("vector", types.FLOAT_VECTOR, dim=width)
            self._ask(OPENING, "create_collection", schema=fields)
            self._create_index(kind)
        self._load()

    def _kind_of_index(self) -> str:
        """Returns the index that the collection has, "" where a process died before it was made."""
        if "vector" not in self._ask(OPENING, "list_indexes"):
            return ""
        return str(self._ask(OPENING, "describe_index", index_name="vector")["index_type"])

    def _create_index(self, kind: str) -> None:
        made = self._server.pymilvus.MilvusClient.prepare_index_params()
        settings = {"index_type": kind, "params": GRAPH if kind == "HNSW" else {}}
        made.add_index("vector", index_name="vector", metric_type="IP", **settings)
        self._ask(OPENING, "create_index", index_params=made, sync=False)

    def _load(self) -> None:
        """Lets the server load the collection, however long that takes."""
        self._ask(OPENING, "load_collection", _async=True)
        while (state := str(self._ask(OPENING, "get_load_state")["state"])) != "Loaded":
            if state == "NotExist":
                raise self._changed()
            time.sleep(0.2)

    def _finish(self) -> None:
        """Marks the collection as complete."""
        if self._count() != len(self._clips):
            raise IndexAway(
                f"{self._server.address}: another process changes the collection "
                f"{self.collection}. Run the same command again when it has ended"
            )
        kind = f"graph{self._candidates}" if self._candidates else "exact"
        self._ask("finishing the index", "create_alias", alias=f"{self._mark}{kind}")

    # ------------------------------------------------------------------------------- writing

    def _known_keys(self) -> np.ndarray:
        """Returns the keys (M, 16) of all rows."""
        parts = [np.zeros((0, SIZE), np.uint8)]
        for rows in self._rows("key"):
            parts.append(_keys_of([row["key"] for row in rows]))
        return np.concatenate(parts)

    def _rows(self, *fields: str) -> Iterator[list[dict[str, Any]]]:
        """Yields all rows in batches."""
        words = {"output_fields": list(fields), "consistency_level": "Strong"}
        rows = self._ask("reading rows", "query_iterator", batch_size=READ, **words)
        with self._server.answering("reading rows"):
            while batch := rows.next():
                yield batch
            rows.close()

    def _remove(self, keys: np.ndarray) -> None:
        for first in range(0, len(keys), READ):
            self._ask("removing clips", "delete", ids=_texts(keys[first : first + READ]))

    def _add(self, keys: np.ndarray, batches: Iterator[np.ndarray]) -> None:
        """Writes the vectors of clips with ``keys``; those before an error, too."""
        pending: list[np.ndarray] = []
        done = 0

        def write() -> None:
            nonlocal done, pending
            if pending:
                vectors, pending = np.concatenate(pending), []
                self._upsert(keys[done : done + len(vectors)], vectors)
                done += len(vectors)

        try:
            for batch in batches:
                pending.append(batch)
                if sum(map(len, pending)) >= WRITTEN:
                    write()
        finally:
            write()

    def _upsert(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Writes rows; twice makes no difference, as where an answer was lost."""
        rows = [
            {"key": key, "vector": vector}
            for key, vector in zip(_texts(keys), vectors, strict=True)
        ]
        self._ask("writing vectors", "upsert", data=rows)

    def _tune(self, queries: np.ndarray | None) -> None:
        """Chooses how many candidates a search looks at, by comparing with an exact search."""
        self._candidates, whose = FEWEST, "sentences"
        if queries is None:
            whose = "clips as queries"
            at = np.linspace(0, len(self._clips) - 1, min(SAMPLE_COUNT, len(self._clips)))
            queries = self.take(at.astype(np.int64))
        count = min(SAMPLE_COUNT, len(self._clips))
        wanted = self._nearest_of_all(queries, count)
        while True:
            found = recall(self.search(queries, count)[0], wanted)
            if found >= RECALL or self._candidates >= LARGEST:
                break
            self._candidates *= 2
        log.info(
            "approximate first stage: %d candidates of a graph find %.1f %% of the %d nearest of "
            "%d clips, measured with %d %s",
            *(self._candidates, 100 * found, count, len(self._clips), len(queries), whose),
        )

    def _nearest_of_all(self, queries: np.ndarray, count: int) -> np.ndarray:
        """Returns the positions (Q, k) of the nearest clips, for which all vectors are read."""
        best = Best(len(queries), count)
        for rows in self._rows("key", "vector"):
            positions = self._table.rows(_keys_of([row["key"] for row in rows]))
            vectors = np.array([row["vector"] for row in rows], np.float32)
            best.add(0, queries @ vectors.T, positions)
        return best.positions

    # ----------------------------------------------------------------------------- searching

    def take(self, positions: np.ndarray) -> np.ndarray:
        """Returns the vectors (n, D) of the clips at some positions. Raises IndexAway.

        Raises IndexChanged if another process has changed the collection; so does a search.
        """
        keys = _texts(self._clips.keys[positions])
        words = {"output_fields": ["key", "vector"], "seconds": SEARCH_SECONDS}
        rows = self._ask_loaded("reading vectors", "get", ids=keys, **words)
        vectors = {row["key"]: row["vector"] for row in rows}
        if not set(keys) <= set(vectors):
            raise self._changed()
        return np.array([vectors[key] for key in keys], np.float32)

    def search(
        self, queries: np.ndarray, count: int, among: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`paddlevideo.retrieval.nearest.Nearest`. Raises IndexAway.

        Raises ConfigError for more results than Milvus returns.
        """
        size = len(self._clips)
        allowed = size if among is None else int(np.count_nonzero(among))
        count = min(count, allowed)
        if count > MOST:
            raise ConfigError(f"--candidates, --best: Milvus returns at most {MOST:,} clips")
        if not count or not len(queries):
            shape = (len(queries), count)
            return np.zeros(shape, np.int64), np.zeros(shape, np.float32)
        if among is None:
            return self._found(queries, count)
        # Most filters leave enough of a longer list, which is far faster than naming all keys.
        more = min(math.ceil(1.5 * count * size / allowed) + 16, size)
        if allowed > NAMED and more <= MOST:
            positions, similarities = self._found(queries, more)
            kept = among[positions]
            if (np.count_nonzero(kept, axis=1) >= count).all():
                first = np.argsort(~kept, axis=1, kind="stable")[:, :count]
                taken = (np.take_along_axis(each, first, 1) for each in (positions, similarities))
                return tuple(taken)  # type: ignore[return-value]
        return self._among(queries, count, np.flatnonzero(among))

    def _among(
        self, queries: np.ndarray, count: int, allowed: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Searches among the clips at some positions, by naming them."""
        parts = []
        for first in range(0, len(allowed), NAMED):
            names = _texts(self._clips.keys[allowed[first : first + NAMED]])
            only = f"key in {json.dumps(names)}"
            parts.append(self._found(queries, min(count, len(names)), only))
        return best_of(parts, count)

    def _found(
        self, queries: np.ndarray, count: int, only: str = ""
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns positions and similarities (Q, count), best first."""
        parameters = {"ef": max(self._candidates, count)} if self._candidates else {}
        found = self._ask_loaded(
            *("searching", "search"),
            data=np.ascontiguousarray(queries, np.float32),
            limit=count,
            filter=only,
            output_fields=["key"],
            search_params={"metric_type": "IP", "params": parameters},
            seconds=SEARCH_SECONDS,
        )
        if any(len(hits) != count for hits in found):
            raise self._changed()
        keys = _keys_of([hit["entity"]["key"] for hits in found for hit in hits])
        positions = self._table.rows(keys).reshape(len(queries), count)
        if (positions < 0).any():
            raise self._changed()
        similarities = np.array([[hit["distance"] for hit in hits] for hits in found], np.float32)
        return best_of([(positions, similarities)], count)

    def _ask_loaded(self, doing: str, request: str, **words: Any) -> Any:
        """As ``_ask``; loads the collection where the server has forgotten that it was loaded."""
        try:
            return self._ask(doing, request, **words)
        except IndexAway as error:
            if "load" not in error.answer:
                raise
        self._load()
        return self._ask(doing, request, **words)

    def _changed(self) -> UserError:
        """Returns the error for an answer that does not fit: IndexAway if the index is whole."""
        named = f"{self._server.address}: the collection {self.collection}"
        if self._is_whole():
            return IndexAway(f"{named} is complete, but Milvus found fewer clips than asked for")
        return IndexChanged(
            f"{named} was changed by another process: start again, which completes it"
        )

    def _is_whole(self) -> bool:
        if not self._ask(OPENING, "has_collection"):
            return False
        is_marked = any(name.startswith(self._mark) for name in self._aliases())
        return is_marked and self._count() == len(self._clips)


def _texts(keys: np.ndarray) -> list[str]:
    """Returns keys (n, 16) in hexadecimal, as collections hold them."""
    return [key.tobytes().hex() for key in keys]


def _keys_of(texts: list[str]) -> np.ndarray:
    """Returns the keys (n, 16) of texts in hexadecimal."""
    return np.frombuffer(bytes.fromhex("".join(texts)), np.uint8).reshape(len(texts), SIZE)
