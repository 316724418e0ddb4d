"""The index of a search on disk: what is encoded once, kept, dropped, and left by a kill."""

import errno
import io
import itertools
import json
import logging
import multiprocessing
import os
import shutil

import numpy as np
import pytest

from paddlevideo.cli import split
from paddlevideo.files import whole
from paddlevideo.loader.store import FeatureStore
from paddlevideo.loader.store import writer as writer_module
from paddlevideo.loader.store.tar_shards import CHECKSUM
from paddlevideo.prepare import PackOptions, pack, to_tars
from paddlevideo.retrieval import nearest, search_index, segments
from paddlevideo.retrieval.clip_keys import ClipKeys, find_keys, keys_file
from paddlevideo.retrieval.nearest import Exact, recall
from paddlevideo.retrieval.search_index import SearchIndex
from paddlevideo.retrieval.segments import ApproximateRows, Rows, Segment, write_segment
from paddlevideo.utils.errors import DataError
from tests.killing import dies_at
from tests.loader.clips import make_clip, write

WIDTH = 12


def vector_of(clip):
    vector = clip.regions.mean(axis=0)
    return vector / np.linalg.norm(vector)


class Place:
    """A store of clips, weights, and a folder of indexes; counts the clips that are encoded."""

    def __init__(self, folder, numbers, **options):
        folder.mkdir(exist_ok=True)
        self.folder, self.store = folder, folder / "clips.store"
        self.weights = folder / "w.pdparams"
        self.weights.write_text("weights")
        self.index = folder / "index"
        self.encoded, self.sha256, self.width = [], "ab", WIDTH
        if numbers is not None:
            self.write(numbers, **options)

    def write(self, numbers, **options):
        shutil.rmtree(self.store, ignore_errors=True)
        write(self.store, [make_clip(number) for number in numbers], **options)

    def opened(self, batch=2, **changes):
        """The vectors of all clips, as a search opens them."""
        source = FeatureStore(changes.get("store", self.store))
        index = SearchIndex(self.index, self.weights, self.sha256, {"sizes": 3}, self.width)

        def encode(positions):
            for first in range(0, len(positions), batch):
                part = positions[first : first + batch].tolist()
                self.encoded += [source.about(position).id for position in part]
                yield np.stack([vector_of(source[position]) for position in part])

        return index.vectors(source, source.path, encode)

    def check(self, rows, store=None):
        """Compares with what a new index would hold, bit by bit."""
        source = FeatureStore(store or self.store)
        wanted = np.stack([vector_of(source[position]) for position in range(len(source))])
        np.testing.assert_array_equal(rows[:], wanted)
        np.testing.assert_array_equal(rows[np.arange(len(rows))[::-1]], wanted[::-1])

    def segments(self):
        return sorted(path.name for path in self.index.glob("*/segment-*"))


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path, range(7))


def test_what_is_known_is_not_encoded_again(place):
    place.check(place.opened())
    assert place.encoded == [f"clip{n}" for n in range(7)]
    place.encoded.clear()
    rows = place.opened()
    assert not place.encoded
    place.check(rows)
    assert isinstance(rows.segments[0].vectors, np.memmap), "nothing is read before a search"
    assert isinstance(rows[0:7].base, np.ndarray) and np.shares_memory(
        rows[2:5], rows.segments[0].vectors
    )


def test_three_more_and_one_less_are_three_to_encode(place):
    place.opened()
    place.encoded.clear()
    place.write([0, 11, 1, 2, 12, 4, 5, 6, 13])  # among the others; without 3
    rows = place.opened()
    assert place.encoded == ["clip11", "clip12", "clip13"]
    place.check(rows)
    place.encoded.clear()
    place.check(place.opened())
    assert not place.encoded
    fresh = Place(place.folder / "fresh", [0, 11, 1, 2, 12, 4, 5, 6, 13]).opened()
    queries = np.stack([vector_of(make_clip(number)) for number in (2, 30)])
    for found, wanted in zip(
        Exact(rows).search(queries, 9), Exact(fresh).search(queries, 9), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


def test_a_clip_with_other_contents_is_another(place):
    place.opened()
    place.encoded.clear()
    clips = [make_clip(number) for number in range(7)]
    clips[4] = make_clip(40, name="clip4")
    shutil.rmtree(place.store)
    write(place.store, clips)
    place.check(place.opened())
    assert place.encoded == ["clip4"]


def test_clips_in_another_store_are_the_same_clips(place):
    """``pack`` merges stores, and ``split`` writes beside one: their clips are known."""
    place.opened()
    place.encoded.clear()
    write(place.folder / "more.store", [make_clip(number) for number in (20, 21)])
    both = place.folder / "both.store"
    pack(PackOptions([place.store, place.folder / "more.store"], both))
    place.check(place.opened(store=both), both)
    assert place.encoded == ["clip20", "clip21"]
    assert split.main([str(both), "--by", "clip", "--valid", "0.3", "--test", "0.3"]) == 0
    place.check(place.opened(store=both), both)
    assert place.encoded == ["clip20", "clip21"]
    part = place.folder / "part.store"
    write(part, [make_clip(number) for number in (1, 20)])
    place.encoded.clear()
    place.check(place.opened(store=part), part)
    place.check(place.opened())
    assert not place.encoded, "what one store does not need is kept for the others"


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_clips_of_a_store_that_became_tar_files_are_the_same_clips(tmp_path, dtype):
    """Also where others come before them, and on the way back."""
    place = Place(tmp_path, [*range(7), 40], dtype=dtype)
    tars, back = tmp_path / "tars", tmp_path / "back"
    to_tars(FeatureStore(place.store), tars, 2)
    place.opened()
    place.encoded.clear()
    place.check(place.opened(store=tars), tars)
    assert not place.encoded
    pack(PackOptions([tars], back, dtype=dtype))
    place.check(place.opened(store=back), back)
    shutil.rmtree(place.store)
    write(place.store, [make_clip(number) for number in (9, *range(7))], dtype=dtype)
    to_tars(FeatureStore(place.store), tmp_path / "more", 1)
    place.check(place.opened(store=tmp_path / "more"), tmp_path / "more")
    assert place.encoded == ["clip9"]


def test_tar_files_of_an_earlier_version_have_keys_of_their_own(place):
    tars = place.folder / "tars"
    to_tars(FeatureStore(place.store), tars, 1)
    [path] = tars.glob("*.index")
    index = np.load(path)
    index[:, CHECKSUM] &= 0xFFFFFFFF
    np.save(place.folder / "old.npy", index)
    shutil.move(place.folder / "old.npy", path)
    place.check(place.opened(store=tars), tars)
    assert len(place.encoded) == 7 == len(np.unique(place.opened(store=tars).rows))


@pytest.mark.slow
def test_videos_that_were_extracted_before_are_known_after_another_extraction(tmp_path):
    """Three videos more and one less."""
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    from paddlevideo.extract.run import extract
    from paddlevideo.extract.work import ExtractOptions
    from tests.extract.samples import moving, write_video

    place, videos = Place(tmp_path, None), tmp_path / "videos"
    place.width = 134
    for number in range(4):
        write_video(videos / f"b{number}.mp4", moving((number, 2 - number)))
    assert extract(ExtractOptions(videos, place.store)) == 0
    place.check(place.opened())
    assert len(place.encoded) == len(FeatureStore(place.store)) == 4
    (videos / "b2.mp4").unlink()
    for name, number in (("a", 5), ("b3x", 6), ("z", 7)):
        write_video(videos / f"{name}.mp4", moving((number, -1)))
    place.encoded.clear()
    assert extract(ExtractOptions(videos, place.store, overwrite=True)) == 0
    place.check(place.opened())
    assert sorted(place.encoded) == ["a", "b3x", "z"]


def test_only_changed_shards_of_a_store_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "BATCH_BYTES", 1)
    place = Place(tmp_path, range(9), shard_clips=3)
    place.opened()
    read, checksums = [], FeatureStore.checksums
    monkeypatch.setattr(
        FeatureStore, "checksums", lambda s, shard: read.append(shard) or checksums(s, shard)
    )
    place.opened()
    assert not read
    place.encoded.clear()
    place.write([*range(6), 10, 7, 8], shard_clips=3)
    place.check(place.opened())
    assert read == [2] and place.encoded == ["clip10"]


def test_other_weights_or_sizes_are_another_index(place):
    first = place.opened()
    place.encoded.clear()
    place.sha256 = "cd"
    place.weights.write_text("others")
    place.opened()
    assert len(place.encoded) == 7, "vectors of other weights"
    assert len(list(place.index.glob("*/index.json"))) == 1, "the weights were replaced"
    place.check(first)  # the first process still reads what it has mapped


@pytest.mark.parametrize(
    "damage", ["cut vectors", "cut keys", "no keys", "other width", "empty", "cut list"]
)
def test_a_damaged_part_counts_as_absent(place, damage):
    place.opened()
    place.encoded.clear()
    [segment] = place.index.glob("*/segment-*")
    if damage == "cut list":
        [keys] = place.index.glob("clips-*.npz")
        keys.write_bytes(keys.read_bytes()[:-30])
    elif damage == "no keys":
        (segment / "keys.npy").unlink()
    elif damage == "other width":
        np.save(segment / "vectors.npy", np.zeros((7, 5), "float32"))
    else:
        name = "vectors.npy" if "vectors" in damage else "keys.npy"
        content = (segment / name).read_bytes()
        (segment / name).write_bytes(b"" if damage == "empty" else content[:-20])
    place.check(place.opened())
    assert len(place.encoded) == (0 if damage == "cut list" else 7)
    place.encoded.clear()
    place.check(place.opened())
    assert not place.encoded, "it was replaced"


def flip(path, at):
    """Flips one bit of a file, whose size and date stay."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[at] ^= 16
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("name", ["vectors.npy", "keys.npy"])
def test_a_file_that_changed_is_told_and_only_its_clips_are_encoded_again(place, caplog, name):
    place.opened()
    place.write(range(9))
    place.opened()
    small, large = sorted(
        place.index.glob("*/segment-*"), key=lambda path: (path / "keys.npy").stat().st_size
    )
    vectors = (large / "vectors.npy").read_bytes()
    flip(small / name, -5)
    place.encoded.clear()
    caplog.clear()
    place.check(place.opened())
    assert place.encoded == ["clip7", "clip8"]
    (message,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert message.startswith(f"{small / name}: ") and "encoded again" in message
    assert (large / "vectors.npy").read_bytes() == vectors
    place.encoded.clear()
    caplog.clear()
    place.check(place.opened())
    assert not place.encoded and "encoded again" not in caplog.text


def test_files_of_an_earlier_version_which_have_no_checksum_are_written_again(place, caplog):
    place.opened()
    for path in place.index.glob("*/segment-*/*.npy"):
        path.write_bytes(path.read_bytes()[:-4])
        np.load(path)
    place.encoded.clear()
    place.check(place.opened())
    assert len(place.encoded) == 7 and "an earlier version" in caplog.text


def test_a_file_that_cannot_be_read_is_told(place, monkeypatch, caplog):
    place.opened()
    [path] = place.index.glob("*/segment-*/vectors.npy")

    class Failing(io.BytesIO):
        def readinto(self, block):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def opened(name, *words, **more):
        return Failing() if name == path else open(name, *words, **more)

    monkeypatch.setattr(whole, "open", opened, raising=False)
    assert segments.read_segments(path.parent.parent, WIDTH) == []
    assert f"{path}: Input/output error" in caplog.text
    monkeypatch.undo()
    assert len(segments.read_segments(path.parent.parent, WIDTH)) == 1, "it is not removed"


def test_a_segment_that_is_replaced_while_it_is_read_is_whole(tmp_path, monkeypatch, caplog):
    """Two processes that encode the same clips write one segment, with other last bits."""
    keys = np.arange(64, dtype="uint8").reshape(4, 16)
    first, second = (np.full((4, WIDTH), value, "float32") for value in (1, 2))
    write_segment(tmp_path, [first], keys)
    real = segments.has_crc32

    def replaced(path):
        monkeypatch.setattr(segments, "has_crc32", real)
        write_segment(tmp_path, [second], keys)
        return real(path)

    monkeypatch.setattr(segments, "has_crc32", replaced)
    [found] = segments.read_segments(tmp_path, WIDTH)
    np.testing.assert_array_equal(found.vectors, second)
    assert not caplog.records


def test_what_was_encoded_before_an_error_is_kept(place, monkeypatch):
    monkeypatch.setattr(search_index, "SEGMENT_CLIPS", 2)
    real = vector_of

    def fails(clip):
        if clip.id == "clip5":
            raise DataError("clip5 is damaged")
        return real(clip)

    monkeypatch.setitem(globals(), "vector_of", fails)
    with pytest.raises(DataError, match="clip5"):
        place.opened(batch=1)
    monkeypatch.setitem(globals(), "vector_of", real)
    place.encoded.clear()
    place.check(place.opened())
    assert place.encoded == ["clip5", "clip6"]


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_an_index_that_is_whole_or_absent(place, monkeypatch):
    """Of a second store, too, and while segments are merged."""
    monkeypatch.setattr(search_index, "SEGMENT_CLIPS", 2)
    before = {}
    for moment in itertools.count():
        shutil.rmtree(place.index, ignore_errors=True)
        place.write([0, 1, 2])
        place.opened()
        place.write([5, 0, 2, 6, 7, 8, 9])
        died = dies_at(place.opened, moment)
        place.encoded.clear()
        place.check(place.opened())
        before[moment] = len(place.encoded)
        place.encoded.clear()
        place.check(place.opened())
        assert not place.encoded
        assert {path.name for path in place.index.rglob("*")} >= {"keys.npy", "vectors.npy"}
        leftovers = [path for path in place.index.rglob("*") if ".partial" in path.name]
        whole = [path.parent for path in place.index.rglob("keys.npy")]
        assert not leftovers and whole == list(place.index.glob("*/segment-*")), moment
        if not died:
            break
    assert moment > 10 and before[0] == 5 and before[moment] == 0
    assert set(before.values()) >= {5, 3, 1, 0}, "what was written before a kill is kept"


def open_often(place, times):
    for _ in range(times):
        place.check(place.opened(batch=1))


def test_two_processes_at_once_do_not_disturb_each_other(place, monkeypatch):
    monkeypatch.setattr(search_index, "SEGMENT_CLIPS", 1)
    monkeypatch.setattr(search_index, "MOST_SEGMENTS", 2)
    fork = multiprocessing.get_context("fork")
    for numbers in ([0, 1, 2], [3, 1, 2, 4], [9, 8, 7, 3, 2, 1]):
        place.write(numbers)
        processes = [fork.Process(target=open_often, args=(place, 3)) for _ in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0, 0]
        place.encoded.clear()
        place.check(place.opened())
        assert not place.encoded


def test_many_or_sparse_segments_become_one(place, monkeypatch):
    for end in range(7, 15):  # one clip more each time
        place.write(range(end))
        place.opened()
    large, *_ = before = place.opened().segments
    assert len(large) == 7 and len(place.segments()) == search_index.MOST_SEGMENTS == len(before)
    place.write(range(15))
    place.check(place.opened())
    assert len(place.segments()) == 2 and large.folder.is_dir(), "the small ones"
    place.write(range(12, 15))  # of 15 clips
    place.encoded.clear()
    rows = place.opened()
    place.check(rows)
    assert not place.encoded and len(rows.segments[0]) == 3
    place.check(place.opened())


def test_small_segments_that_nothing_needs_are_removed(place, monkeypatch):
    place.write(range(20))
    place.opened()
    monkeypatch.setattr(search_index, "MOST_SEGMENTS", 20)
    for number in range(30, 37):
        place.write([*range(20), number])  # without the one before
        place.opened()
    assert len(place.segments()) == 8
    monkeypatch.setattr(search_index, "MOST_SEGMENTS", 4)
    place.write(range(20))
    rows = place.opened()
    place.check(rows)
    assert len(place.segments()) == 1 and sum(map(len, rows.segments)) == 20
    place.check(place.opened())


def test_a_store_that_is_gone_needs_nothing(place):
    other = place.folder / "other.store"
    write(other, [make_clip(number) for number in range(7, 30)])
    place.opened(store=other)
    place.check(place.opened())
    assert sum(map(len, place.opened().segments)) == 30
    shutil.rmtree(other)
    place.check(place.opened())
    assert sum(map(len, place.opened().segments)) == 7
    assert len(list(place.index.glob("clips-*.npz"))) == 1


def test_a_long_run_merges_small_segments(place, monkeypatch):
    monkeypatch.setattr(search_index, "SEGMENT_CLIPS", 1)
    monkeypatch.setattr(search_index, "MOST_SMALL", 4)
    most, merge = [], SearchIndex._merge_small

    def watched(self, found):
        most.append(len(found))
        merge(self, found)

    monkeypatch.setattr(SearchIndex, "_merge_small", watched)
    place.write(range(20))
    place.check(place.opened(batch=1))
    assert max(most) < 12 and len(place.segments()) == 1


@pytest.mark.skipif(os.geteuid() == 0 and not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_is_told_once_and_the_search_goes_on(place, monkeypatch):
    told = []
    log = logging.getLogger("paddlevideo")
    monkeypatch.setattr(log, "warning", lambda text, *words: told.append(text % words))
    monkeypatch.setattr(search_index, "SEGMENT_CLIPS", 2)
    write_header = segments._write_header

    def full(file, shape):
        write_header(file, shape)
        with open("/dev/full", "wb") as disk:
            disk.write(bytes(1 << 16))

    monkeypatch.setattr(segments, "_write_header", full)
    place.check(place.opened())
    (message,) = told
    assert "cannot be written" in message and "No space left on device" in message
    assert not place.segments()
    monkeypatch.setattr(segments, "_write_header", write_header)
    place.encoded.clear()
    place.check(place.opened())
    assert len(place.encoded) == 7


def test_a_folder_that_is_only_read_is_enough_for_what_it_holds(place, monkeypatch, caplog):
    place.opened()
    for name in ("write_segment", "write_json_whole"):
        monkeypatch.setattr(search_index, name, lambda *_: pytest.fail("written"))
    place.check(place.opened())
    assert "cannot be written" not in caplog.text


def test_an_index_of_an_earlier_version_is_removed(place):
    place.index.mkdir()
    old, foreign = place.index / f"{0:016x}.npz", place.index / f"{1:016x}.npz"
    np.savez(old, key=np.asarray(json.dumps({"weights": {"path": "/w"}})), vectors=np.eye(3))
    np.savez(foreign, key=np.asarray("mine"))
    place.opened()
    assert not old.exists() and foreign.exists()


# ----------------------------------------------------------------------------------- its parts


def test_keys_are_found_wherever_they_are():
    rng = np.random.default_rng(0)
    known = rng.integers(0, 256, (50, 16)).astype("uint8")
    keys = np.concatenate([known[[7, 3, 49]], rng.integers(0, 256, (2, 16)).astype("uint8")])
    assert find_keys(keys, known).tolist() == [7, 3, 49, -1, -1]
    assert find_keys(keys, known[:0]).tolist() == [-1] * 5
    half = known[:1].copy()
    half[0, 15] ^= 1
    assert find_keys(half, known).tolist() == [-1], "both halves count"


def test_keys_of_a_store_are_kept_in_a_file(place):
    place.opened()
    path = keys_file(place.index, place.store)
    kept = ClipKeys.read(path)
    assert len(kept) == 7 and len(np.unique(kept.keys, axis=0)) == 7
    for content in (b"", b"no", path.read_bytes()[:100]):
        (place.folder / "damaged").write_bytes(content)
        assert ClipKeys.read(place.folder / "damaged") is None


def test_rows_read_as_an_array_does(tmp_path):
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(30, WIDTH)).astype("float32")
    keys = rng.integers(0, 256, (30, 16)).astype("uint8")
    parts = [
        Segment(vectors[:10], keys[:10]),
        write_segment(tmp_path, iter([vectors[10:15], vectors[15:30]]), keys[10:]),
    ]
    order = np.r_[5:10, 10:30, 2, 2, 0]
    rows = Rows(parts, order, WIDTH)
    assert rows.shape == (28, WIDTH) and len(rows) == 28
    for at in (slice(0, 5), slice(3, 9), slice(10, 28), slice(4, 4), np.array([27, 0, 6])):
        np.testing.assert_array_equal(rows[at], vectors[order][at])
    np.testing.assert_array_equal(np.concatenate(list(rows.blocks())), vectors[order])


@pytest.fixture
def many(tmp_path, monkeypatch):
    """Three segments, two of which are large, and clips in another order, of which some are not
    needed."""
    pytest.importorskip("faiss", reason="faiss-cpu is not installed")
    monkeypatch.setattr(segments, "APPROXIMATE_FROM", 500)
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(3000, WIDTH)).astype("float32")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    keys = rng.integers(0, 256, (3000, 16)).astype("uint8")
    cuts = [slice(0, 1500), slice(1500, 2800), slice(2800, 3000)]
    parts = [write_segment(tmp_path, iter([vectors[cut]]), keys[cut]) for cut in cuts]
    return Rows(parts, rng.permutation(3000)[:2600], WIDTH), tmp_path


def test_an_approximate_search_covers_all_segments(many):
    rows, folder = many
    queries = rows[:40] + 0.1
    approximate = ApproximateRows(rows, lambda: queries)
    assert len(list(folder.glob("*/cells.faiss"))) == 2
    rng = np.random.default_rng(3)
    for among in (None, rng.random(2600) < 0.5, rng.random(2600) < 0.01, np.zeros(2600, bool)):
        positions, similarities = approximate.search(queries, 10, among)
        wanted = Exact(rows).search(queries, 10, among)[0]
        assert positions.shape == wanted.shape and (np.diff(similarities) <= 0).all()
        assert not wanted.size or recall(positions, wanted) > 0.9
        assert among is None or among[positions].all()
        products = np.einsum("qd,qkd->qk", queries, rows[positions])
        np.testing.assert_allclose(similarities, products, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(approximate.take(np.array([3])), rows[3:4])


def test_cells_that_changed_are_built_again(many, caplog):
    rows, folder = many
    first = ApproximateRows(rows, lambda: rows[:30])
    path, other = sorted(folder.glob("*/cells.faiss"))
    kept = other.stat().st_mtime_ns
    flip(path, -100)
    caplog.clear()
    again = ApproximateRows(rows, lambda: rows[:30])
    (message,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert message.startswith(f"{path}: ") and "built again" in message
    assert other.stat().st_mtime_ns == kept
    for found, wanted in zip(again.search(rows[:9], 5), first.search(rows[:9], 5), strict=True):
        np.testing.assert_array_equal(found, wanted)
    caplog.clear()
    ApproximateRows(rows, lambda: pytest.fail("built again"))
    assert not caplog.records


def test_cells_are_built_once_and_measured_with_sentences(many, monkeypatch, caplog):
    rows, folder = many
    with caplog.at_level("INFO", "paddlevideo"):
        first = ApproximateRows(rows, lambda: rows[:30])
    assert caplog.text.count("measured with 30 sentences") == 2
    monkeypatch.setattr(nearest.Approximate, "_build", lambda self: pytest.fail("built again"))
    again = ApproximateRows(rows, lambda: pytest.fail("measured again"))
    for found, wanted in zip(again.search(rows[:9], 5), first.search(rows[:9], 5), strict=True):
        np.testing.assert_array_equal(found, wanted)
