"""Searches among vectors, compared with a stable sort of all similarities."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddlevideo.retrieval import nearest
from paddlevideo.retrieval.nearest import Approximate, Exact, open_nearest, recall
from paddlevideo.utils.errors import ConfigError


def sorted_all(queries, vectors, count, among=None):
    """All similarities, sorted as they should be."""
    positions = np.arange(len(vectors)) if among is None else np.flatnonzero(among)
    similarities = queries @ vectors[positions].T
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :count]
    return positions[order], np.take_along_axis(similarities, order, axis=1)


def unit(rng, size, width=16):
    vectors = rng.normal(size=(size, width)).astype("float32")
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def clustered(rng, centres, size):
    """Vectors around centres, as those of clips are."""
    clusters, width = centres.shape
    spread = centres[rng.integers(clusters, size=size)] + 0.6 * unit(rng, size, width)
    return spread / np.linalg.norm(spread, axis=1, keepdims=True)


# Small whole numbers: products are exact, whatever sums them up, and most are equal to others.
@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.tuples(st.integers(0, 5), st.integers(0, 60), st.integers(1, 4)),
    count=st.integers(0, 70),
    block=st.sampled_from([1, 7, 64, 1 << 20]),
    share=st.sampled_from([None, 0.0, 0.3, 0.9, 1.0]),
)
def test_an_exact_search_is_a_stable_sort(seed, sizes, count, block, share):
    rng = np.random.default_rng(seed)
    number, size, width = sizes
    queries = rng.integers(-1, 2, (number, width)).astype("float32")
    vectors = rng.integers(-1, 2, (size, width)).astype("float32")
    among = None if share is None else rng.random(size) < share
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "BLOCK", block)
        positions, similarities = Exact(vectors).search(queries, count, among)
    wanted = sorted_all(queries, vectors, count, among)
    assert positions.dtype == np.int64 and similarities.dtype == np.float32
    np.testing.assert_array_equal(positions, wanted[0])
    np.testing.assert_array_equal(similarities, wanted[1])


def test_random_vectors_are_found_in_blocks_of_any_size(monkeypatch):
    rng = np.random.default_rng(1)
    queries, vectors = unit(rng, 9), unit(rng, 500)
    wanted = sorted_all(queries, vectors, 20)
    for block in (100, 3000, 1 << 24):
        monkeypatch.setattr(nearest, "BLOCK", block)
        positions, similarities = Exact(vectors).search(queries, 20)
        np.testing.assert_array_equal(positions, wanted[0])
        np.testing.assert_allclose(similarities, wanted[1], rtol=1e-5, atol=1e-6)


def test_a_memory_map_is_read_in_blocks_and_never_as_a_whole(monkeypatch, tmp_path):
    rng = np.random.default_rng(2)
    vectors, queries = unit(rng, 1000), unit(rng, 3)
    np.save(tmp_path / "vectors.npy", vectors)
    mapped, largest = np.load(tmp_path / "vectors.npy", mmap_mode="r"), []

    class Watched:
        shape = mapped.shape

        def __len__(self):
            return len(mapped)

        def __getitem__(self, rows):
            block = mapped[rows]
            largest.append(len(block))
            return block

    monkeypatch.setattr(nearest, "BLOCK", 16 * 100)
    found = Exact(Watched()).search(queries, 10)[0]
    np.testing.assert_array_equal(found, sorted_all(queries, vectors, 10)[0])
    assert max(largest) == 100 and sum(largest) == 1000


# ------------------------------------------------------------------------- the approximate search


@pytest.fixture(scope="module")
def many():
    pytest.importorskip("faiss", reason="faiss-cpu is not installed")
    rng = np.random.default_rng(3)
    centres = unit(rng, 64, 32)
    vectors, queries = clustered(rng, centres, 20_000), clustered(rng, centres, 40)
    approximate = Approximate(vectors)
    assert approximate.tune(queries) >= nearest.RECALL
    return vectors, queries, approximate


def test_an_approximate_search_finds_nearly_all_with_their_similarities(many):
    vectors, queries, approximate = many
    positions, similarities = approximate.search(queries, 10)
    wanted = sorted_all(queries, vectors, 10)[0]
    assert recall(positions, wanted) > 0.93
    assert approximate.probed < approximate._index.nlist / 2
    rows = np.einsum("qd,qkd->qk", queries, vectors[positions])
    np.testing.assert_allclose(similarities, rows, rtol=1e-5, atol=1e-6)
    assert (np.diff(similarities) <= 0).all()
    assert all(len(set(row)) == 10 for row in positions.tolist())


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.02, 0.3, 0.999])
def test_an_approximate_search_keeps_to_what_is_allowed(many, share):
    vectors, queries, approximate = many
    among = np.random.default_rng(4).random(len(vectors)) < share
    positions, _ = approximate.search(queries, 10, among)
    wanted = sorted_all(queries, vectors, 10, among)[0]
    assert positions.shape == wanted.shape and among[positions].all()
    assert not share or recall(positions, wanted) > (0.9 if share > 0.1 else 0.999)


def test_where_the_cells_hold_too_few_the_search_is_exact(many):
    """Allowed are the vectors on the other side of the query."""
    vectors, queries, approximate = many
    query = queries[:1]
    among = (vectors @ query[0]) < np.median(vectors @ query[0])
    np.testing.assert_array_equal(
        approximate.search(query, 50, among)[0], sorted_all(query, vectors, 50, among)[0]
    )


def test_results_can_be_as_many_as_the_vectors_or_none(many):
    vectors, queries, approximate = many
    positions, similarities = approximate.search(queries[:2], len(vectors) + 5)
    assert (np.sort(positions) == np.arange(len(vectors))).all()
    wanted = sorted_all(queries[:2], vectors, len(vectors))[1]
    np.testing.assert_allclose(similarities, wanted, rtol=1e-5, atol=1e-6)
    assert approximate.search(queries, 0)[0].shape == (len(queries), 0)
    assert approximate.search(queries[:0], 10)[0].shape == (0, 10)


def test_the_same_vectors_give_the_same_index_which_a_file_keeps(many, tmp_path):
    vectors, queries, approximate = many
    approximate.write(tmp_path / "a")
    again = Approximate(vectors)
    again.tune(queries)
    again.write(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").stat().st_size < vectors.nbytes * 0.4
    kept = Approximate.read(tmp_path / "a", vectors)
    for found, wanted in zip(
        kept.search(queries, 10), approximate.search(queries, 10), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)
    assert Approximate.read(tmp_path / "a", vectors[1:]) is None, "of other vectors"
    content = (tmp_path / "a").read_bytes()
    for size in (0, 10, len(content) // 2, len(content) - 1):
        (tmp_path / "cut").write_bytes(content[:size])
        assert Approximate.read(tmp_path / "cut", vectors) is None, size
    assert Approximate.read(tmp_path / "absent", vectors) is None
    with pytest.raises(OSError, match="absent"):
        approximate.write(tmp_path / "absent" / "folder")


def test_equal_vectors_are_in_their_order_also_approximately():
    pytest.importorskip("faiss", reason="faiss-cpu is not installed")
    vectors = np.tile(unit(np.random.default_rng(5), 1), (20_000, 1))
    positions, _ = Approximate(vectors).search(vectors[:2], 5)
    assert (positions == positions[0]).all() and (np.diff(positions) > 0).all()


def test_what_is_opened_depends_on_the_choice_and_the_size(monkeypatch):
    vectors = unit(np.random.default_rng(6), 100)
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    assert isinstance(open_nearest(vectors, "exact"), Exact)
    assert isinstance(open_nearest(vectors, "approximate"), Exact), "nothing to save"
    monkeypatch.setattr(nearest, "APPROXIMATE_FROM", 100)
    assert isinstance(open_nearest(vectors, "exact"), Exact)
    with pytest.raises(ConfigError, match="pip install faiss-cpu"):
        open_nearest(vectors, "approximate")


def test_the_recall_is_measured_and_told(many, caplog):
    """Cells are added until enough is found, or until an exact search would be as fast."""
    vectors, queries, _ = many
    approximate = Approximate(vectors)
    with caplog.at_level("INFO", "paddlevideo"):
        found = approximate.tune(queries)
        wanted = sorted_all(queries, vectors, nearest.SAMPLE_COUNT)[0]
        assert found == recall(approximate.search(queries, nearest.SAMPLE_COUNT)[0], wanted)
        assert f"{100 * found:.1f} % of the 32 nearest of 20000 clips" in caplog.text
        assert "40 sentences" in caplog.text
        assert approximate.tune() >= nearest.RECALL and "64 clips as queries" in caplog.text
        probed = approximate.probed
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nearest, "RECALL", 1.01)
            approximate.tune()
        assert probed < approximate.probed == approximate._index.nlist / 2


def test_recall_counts_what_was_found():
    wanted = np.array([[1, 2], [3, 4]])
    assert recall(np.array([[2, 9], [4, 3]]), wanted) == 0.75
    assert recall(np.zeros((0, 2), int), np.zeros((0, 2), int)) == 0.0
