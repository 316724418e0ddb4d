"""The index in Milvus: Milvus Lite in this process, and its server in another one, which dies."""

import os
import shutil
import signal
import sys
import time

import numpy as np
import pytest

from paddlevideo.loader.store import FeatureStore
from paddlevideo.retrieval import milvus_index, milvus_server, nearest
from paddlevideo.retrieval.clip_keys import kept_keys
from paddlevideo.retrieval.milvus_index import MilvusIndex
from paddlevideo.retrieval.milvus_server import (
    IndexAway,
    IndexChanged,
    check_address,
    check_place,
    is_milvus,
)
from paddlevideo.retrieval.nearest import Exact
from paddlevideo.utils.errors import ConfigError, DataError
from tests.loader.clips import make_clip, write
from tests.milvus_process import Server

pytest.importorskip("pymilvus", reason="pymilvus is not installed: the extra scale has it")
pytest.importorskip("milvus_lite", reason="milvus-lite is not installed: the extra scale has it")

WIDTH = 12


def vector_of(clip):
    vector = clip.regions.mean(axis=0)
    return vector / np.linalg.norm(vector)


class Place:
    """A store of clips, whose vectors are in Milvus; notes the clips that are encoded."""

    def __init__(self, folder, address=None):
        self.folder, self.store = folder, folder / "clips.store"
        self.address = address or folder / "index.db"
        self.encoded, self.fails_at = [], None

    def write(self, numbers):
        shutil.rmtree(self.store, ignore_errors=True)
        write(self.store, [make_clip(number) for number in numbers])

    def opened(self, how="exact", sample=lambda: None, batch=2, **about):
        source = FeatureStore(self.store)
        clips = kept_keys(self.folder / "keys", source, self.store)
        index = MilvusIndex(self.address, clips, {"weights": "ab", **about})

        def encode(positions):
            for first in range(0, len(positions), batch):
                part = positions[first : first + batch].tolist()
                for position in part:
                    if source.about(position).id == self.fails_at:
                        raise DataError(f"{self.fails_at} is damaged")
                self.encoded += [source.about(position).id for position in part]
                yield np.stack([vector_of(source[position]) for position in part])

        index.fill(encode, WIDTH, how, sample)
        return index

    def vectors(self):
        source = FeatureStore(self.store)
        return np.stack([vector_of(source[position]) for position in range(len(source))])

    def check(self, index, depth=5):
        """Compares the results with those of the embedded index."""
        vectors = self.vectors()
        rng = np.random.default_rng(1)
        queries = 7 * rng.normal(size=(3, WIDTH)).astype("float32")
        for among in (None, rng.random(len(vectors)) < 0.5, np.zeros(len(vectors), bool)):
            for count in (depth, 10 * len(vectors)):
                positions, similarities = index.search(queries, count, among)
                wanted = Exact(vectors).search(queries, count, among)
                np.testing.assert_array_equal(positions, wanted[0])
                np.testing.assert_allclose(similarities, wanted[1], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(index.take(np.array([2, 0])), vectors[[2, 0]], rtol=1e-6)


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    made.write(range(7))
    yield made
    from milvus_lite.server_manager import server_manager_instance

    server_manager_instance.release_server(str(made.address))


def test_results_are_those_of_the_embedded_index(place):
    place.check(place.opened())
    assert place.encoded == [f"clip{n}" for n in range(7)]
    place.encoded.clear()
    place.check(place.opened())
    assert not place.encoded


def test_three_more_and_one_less_are_three_to_encode(place):
    place.opened()
    place.encoded.clear()
    place.write([0, 11, 1, 2, 12, 4, 5, 6, 13])
    place.check(place.opened())
    assert place.encoded == ["clip11", "clip12", "clip13"]


def test_other_weights_have_a_collection_of_their_own(place):
    first = place.opened()
    place.opened(sizes=3)
    assert len(place.encoded) == 14
    place.check(first)


def test_what_is_half_built_is_continued_and_never_taken_for_whole(place, monkeypatch):
    monkeypatch.setattr(milvus_index, "WRITTEN", 2)
    place.fails_at = "clip5"
    with pytest.raises(DataError, match="clip5"):
        place.opened(batch=1)
    place.fails_at = None
    assert place.encoded == [f"clip{n}" for n in range(5)]
    place.encoded.clear()
    place.check(place.opened())
    assert place.encoded == ["clip5", "clip6"]


@pytest.mark.parametrize("step", ["_remove", "_add", "_finish"])
def test_a_change_that_was_begun_is_finished_by_the_next(place, monkeypatch, step):
    place.opened()
    place.write([0, 11, 2])
    with monkeypatch.context() as patch:
        patch.setattr(MilvusIndex, step, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            place.opened()
    place.check(place.opened())


def test_rows_that_are_lost_are_noticed(place):
    index = place.opened()
    index._remove(index._clips.keys[:2])
    with pytest.raises(IndexChanged, match="was changed by another process"):
        index.search(np.ones((1, WIDTH), "float32"), 7)
    with pytest.raises(IndexChanged, match="was changed by another process"):
        index.take(np.array([0]))
    place.encoded.clear()
    place.check(place.opened())
    assert place.encoded == ["clip0", "clip1"]


def test_fewer_results_of_a_whole_index_are_no_change(place, monkeypatch):
    """A graph of neighbours may find too few: a server must not end for that."""
    index = place.opened()
    ask = index._server.ask

    def fewer(doing, request, *words, **more):
        found = ask(doing, request, *words, **more)
        return [hits[:-1] for hits in found] if request == "search" else found

    monkeypatch.setattr(index._server, "ask", fewer)
    with pytest.raises(IndexAway, match="is complete, but Milvus found fewer"):
        index.search(np.ones((1, WIDTH), "float32"), 3)


def test_rows_of_another_store_are_noticed(place):
    """As after another machine has put a store with the same path into the collection."""
    index = place.opened()
    place.write([20, 21, 22, 23, 24, 25, 26])
    other = place.opened()
    with pytest.raises(IndexChanged, match="was changed by another process"):
        index.search(np.ones((1, WIDTH), "float32"), 3)
    place.check(other)


def test_an_approximate_index_is_measured_and_the_choice_can_change(place, caplog):
    place.write(range(60))
    with caplog.at_level("INFO", "paddlevideo"):
        index = place.opened("approximate", lambda: place.vectors()[:9])
    assert "of the 32 nearest of 60 clips, measured with 9 sentences" in caplog.text
    assert index._candidates == milvus_index.FEWEST
    place.check(index, 3)
    place.encoded.clear()
    caplog.clear()
    assert place.opened("approximate", lambda: pytest.fail("measured"))._candidates
    place.check(place.opened())
    assert not place.opened()._candidates and not place.encoded, "only the index is another"
    place.check(place.opened("approximate"))


def test_filters_that_leave_many_clips(place, monkeypatch):
    """They are applied to a longer list, and where that is too short, clips are named."""
    monkeypatch.setattr(milvus_index, "NAMED", 10)
    place.write(range(60))
    index, vectors = place.opened(), place.vectors()
    query = vectors[:2]
    far = np.argsort(-(query[0] @ vectors.T))[30:]  # allowed are only the last of the list
    among = np.zeros(60, bool)
    among[far] = True
    for limit in (milvus_index.MOST, 20):
        monkeypatch.setattr(milvus_index, "MOST", limit)
        for count in (1, 5, 20):
            positions, _ = index.search(query, count, among)
            wanted = Exact(vectors).search(query, count, among)[0]
            np.testing.assert_array_equal(positions, wanted)
    with pytest.raises(ConfigError, match="at most 20 clips"):
        index.search(query, 21)


def test_addresses():
    assert is_milvus("http://x:1") and not is_milvus(nearest.Path("a/folder"))
    assert is_milvus(nearest.Path("a/file.db"))
    for good in ("http://localhost:19530", "https://x.example.org", "http://h:1/database"):
        check_address(good)
    for bad in ("ftp://x:1", "http://", "http://x:port", "tcp://x:19530"):
        with pytest.raises(ConfigError, match="expected a folder, http://HOST:PORT"):
            check_address(bad)
    with pytest.raises(ConfigError, match="set MILVUS_TOKEN"):
        check_address("http://root:secret@x:19530")


def test_what_cannot_be_an_index_is_refused_before_anything_is_encoded(tmp_path):
    file, folder = tmp_path / "captions.csv", tmp_path / "host:1"
    file.write_text("clip,caption")
    folder.mkdir()
    lite = tmp_path / "x.db"
    lite.write_text("")
    for good in (tmp_path, tmp_path / "new", folder, lite, "http://localhost:19530", "./host:1"):
        check_place(str(good))
    with pytest.raises(ConfigError, match="captions.csv is a file: expected a folder, http://"):
        check_place(str(file))
    with pytest.raises(ConfigError, match="write http://localhost:19530 for Milvus"):
        check_place("localhost:19530")
    with pytest.raises(ConfigError, match="^--index: ftp://x: expected a folder"):
        check_place("ftp://x")


def test_words_in_an_address_are_no_answer_of_its_server(tmp_path, monkeypatch):
    place = Place(tmp_path, tmp_path / "unavailable_downloads.db")
    place.write(range(3))
    index = place.opened()
    asked = []

    def refuse(*_, **__):
        asked.append(1)
        raise index._server.pymilvus.MilvusException(message="refused")

    monkeypatch.setattr(index._server._client, "search", refuse)
    monkeypatch.setattr(MilvusIndex, "_load", lambda _: asked.append("loaded"))
    with pytest.raises(IndexAway, match="refused"):
        index.search(np.ones((1, WIDTH), "float32"), 3)
    assert asked == [1]


def test_without_pymilvus_the_message_says_what_to_install(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(ConfigError, match="pip install pymilvus milvus-lite"):
        place.opened()


# ---------------------------------------------------------------------- a server that goes away


@pytest.fixture
def server(tmp_path, monkeypatch):
    for module, name in (
        *((milvus_index, name) for name in ("SEARCH_SECONDS", "FLUSH_SECONDS")),
        (milvus_server, "SECONDS"),
    ):
        monkeypatch.setattr(module, name, 1.5)
    made = Server(tmp_path / "data")
    made.start()
    yield made
    made.kill()


@pytest.mark.slow
def test_a_server_that_is_away_is_named(tmp_path, server):
    place = Place(tmp_path, server.address)
    place.write(range(7))
    index = place.opened()
    place.check(index)
    server.kill()
    said = f"{server.address}: Milvus does not answer.*MILVUS_TOKEN.*another --index"
    with pytest.raises(IndexAway, match=said):
        index.search(np.ones((1, WIDTH), "float32"), 3)
    with pytest.raises(IndexAway, match=said):
        index.take(np.array([0]))
    with pytest.raises(IndexAway, match=said):
        place.opened()
    server.start()
    place.encoded.clear()
    place.check(place.opened())
    assert not place.encoded
    server.kill()
    server.start()
    place.check(index)  # which connects again


@pytest.mark.slow
def test_a_server_that_dies_while_it_is_filled(tmp_path, server, monkeypatch):
    monkeypatch.setattr(milvus_index, "WRITTEN", 2)
    place = Place(tmp_path, server.address)
    place.write(range(12))
    upsert, calls = MilvusIndex._upsert, []

    def dying(self, *words):
        calls.append(len(words[0]))
        if len(calls) == 4:
            server.kill()
        upsert(self, *words)

    with monkeypatch.context() as patch:
        patch.setattr(MilvusIndex, "_upsert", dying)
        with pytest.raises(IndexAway, match=f"{server.address}.*writing vectors"):
            place.opened()
    server.start()
    place.encoded.clear()
    place.check(place.opened())
    assert 0 < len(place.encoded) < 12, "what the server had written is kept"


@pytest.mark.slow
def test_a_short_absence_is_waited_for(tmp_path, server, monkeypatch):
    monkeypatch.setattr(milvus_index, "SEARCH_SECONDS", 20.0)
    place = Place(tmp_path, server.address)
    place.write(range(7))
    index = place.opened()
    server.kill()
    child = os.fork()
    if not child:  # starts it again meanwhile
        time.sleep(1)
        server.start()
        os._exit(0)
    try:
        place.check(index)
    finally:
        os.waitpid(child, 0)
        os.kill(int(_pid_at(server.port)), signal.SIGKILL)


def _pid_at(port):
    """Returns the process that listens at a port, from its command line."""
    for path in nearest.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"milvus_lite" in words and str(port).encode() in words:
            return path.parent.name
    raise AssertionError("no server")
