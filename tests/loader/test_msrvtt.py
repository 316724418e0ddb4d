"""MSR-VTT: parity with the recorded arrays, both forms of CSV, every fault named."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil

import lmdb
import numpy as np
import pytest

from paddlevideo.loader import MSRVTTDataset, load_tokenizer
from paddlevideo.loader.captions.clip_csv import read_captions
from paddlevideo.loader.clips.records import RecordFile
from paddlevideo.loader.store import FeatureStore
from paddlevideo.utils.errors import ConfigError, DataError
from tests.loader.clips import make_clip
from tests.loader.clips import write as write_store
from tests.loader.data import F, G, make_record, save_lmdb

SIZES = {"vision_feature_dim": F, "action_feature_dim": G, "max_region_num": 4, "max_action_num": 2}


@pytest.fixture
def make(tmp_path):
    """Makes a data set of the clips a, b and c, after changes to their records."""

    def build(lines="b,one\na,two\nb,three\n", change=None, **options):
        records = {
            name: make_record(name, number) for name, number in zip("abc", (2, 3, 9), strict=True)
        }
        if change is not None:
            change(records)
        (tmp_path / "test.csv").write_text(lines, encoding="utf-8")
        store = save_lmdb(tmp_path / "test.lmdb", records)
        return MSRVTTDataset(str(tmp_path / "test.csv"), store, **{**SIZES, **options})

    return build


def test_equals_the_recorded_arrays(shared):
    folder = shared / "reference"
    dataset = MSRVTTDataset(
        str(folder / "MSRVTT_JSFUSION_test.csv"), str(folder / "msrvtt_test.lmdb"), gallery_batch=4
    )
    expected = np.load(folder / "msrvtt_expected.npz")
    batches = list(dataset.context())
    assert [len(batch["image_feat"]) for batch in batches] == [4, 2]
    names = {
        "image_feat": "features",
        "image_loc": "spatials",
        "image_mask": "image_mask",
        "action_feat": "action_features",
        "action_mask": "action_mask",
    }
    for key, name in names.items():
        array = np.concatenate([batch[key] for batch in batches])
        assert array.dtype == expected[name].dtype
        np.testing.assert_allclose(array, expected[name], rtol=1e-6, atol=1e-6)
    for index in (0, 2, 3, 4):
        np.testing.assert_array_equal(dataset[index]["text_ids"], expected["tokens"][index])
        np.testing.assert_array_equal(dataset[index]["text_mask"], expected["input_mask"][index])
    # The recorded second caption is cut at its comma; ours is not.
    cut = int(expected["input_mask"][1].sum()) - 1
    np.testing.assert_array_equal(dataset[1]["text_ids"][:cut], expected["tokens"][1][:cut])
    assert dataset[1]["text_mask"].sum() > cut + 1
    assert dataset.truth().tolist() == list(range(6))


def test_original_csv_of_1000_captions(shared):
    pairs = read_captions(str(shared / "data" / "msrvtt" / "MSRVTT_JSFUSION_test.csv"))
    assert len(pairs) == 1000 and len(set(pairs)) == 1000
    assert pairs[0] == ("video9770", "a person is connecting something to system")


def test_real_features(shared):
    folder = shared / "data" / "youcook2_mini"
    dataset = MSRVTTDataset(
        str(folder / "dev.csv"),
        str(folder / "dev.lmdb"),
        vision_feature_dim=1280,
        action_feature_dim=1280,
    )
    batches = list(dataset.context())
    assert sum(len(batch["image_feat"]) for batch in batches) == len(dataset.video_ids) == 300
    assert all(np.isfinite(batch["image_feat"]).all() for batch in batches)


def test_several_captions_a_clip(make):
    dataset = make("b,one\na,two\nb,three\nb,one\n")
    assert dataset.video_ids == ["b", "a"]
    assert dataset.truth().tolist() == [0, 1, 0, 0]
    assert [dataset.name_of(index) for index in range(4)] == ["b", "a", "b", "b"]
    described = dataset.describe()
    assert (described["captions"], described["videos"], described["repeated_lines"]) == (4, 2, 1)
    sample = dataset[2]
    ids = load_tokenizer("bert-base-uncased").encode("three", 36)
    assert sample["text_ids"][:4].tolist() == [*ids, 0] and sample["index"] == 2


def test_a_gallery_of_all_clips_begins_with_those_that_have_captions(make):
    some = make("c,one\nb,two\nc,three\n")
    paths = some.file_path, some.reader.source.path
    dataset = MSRVTTDataset(*paths, gallery="all", gallery_batch=2, **SIZES)
    assert list(dataset.video_ids) == ["c", "b", "a"] and dataset.captioned == ["c", "b"]
    assert np.asarray(dataset.video_ids).tolist() == ["c", "b", "a"]
    np.testing.assert_array_equal(dataset.truth(), some.truth())
    described = dataset.describe()
    assert (described["videos"], described["distractors"]) == (3, 1)
    assert "distractors" not in some.describe()
    first, last = dataset.context()
    (expected,) = some.context()
    for key, rows in expected.items():
        np.testing.assert_array_equal(first[key], rows)
    np.testing.assert_array_equal(last["image_feat"][0, 1:3], make_record("a", 2)["features"])
    taken = dataset.context().take(np.array([2, 0]))
    np.testing.assert_array_equal(taken["image_feat"][1], first["image_feat"][0])
    assert len(dataset.for_training()) == 2, "a clip without a caption is no training sample"


def test_a_gallery_of_all_clips_of_a_store_reads_no_id_that_nobody_asks_for(tmp_path, monkeypatch):
    store = write_store(tmp_path / "clips.store", [make_clip(number) for number in range(6)])
    (tmp_path / "test.csv").write_text("clip4,one\nclip1,two\n")
    about, read = FeatureStore.about, []
    monkeypatch.setattr(
        FeatureStore, "about", lambda self, index: read.append(index) or about(self, index)
    )
    widths = {"vision_feature_dim": 12, "action_feature_dim": 10}
    csv, path = str(tmp_path / "test.csv"), str(store.path)
    dataset = MSRVTTDataset(csv, path, gallery="all", **widths)
    batches = list(dataset.context())
    assert sum(len(batch["image_feat"]) for batch in batches) == 6
    assert set(read) == {1, 4}
    assert dataset.video_ids[2] == "clip0" and set(read) == {0, 1, 4}


def test_a_clip_of_the_gallery_that_cannot_be_read_is_named(make):
    def narrow(records):
        records["a"]["features"] = records["a"]["features"][:, :-1]

    dataset = make("b,one\n", narrow, gallery="all")
    with pytest.raises(DataError, match='clip "a": features are 5 wide'):
        list(dataset.context())


def test_gallery_arrays(make):
    dataset = make("c,many\na,few\n")
    (batch,) = dataset.context()
    many = make_record("c", 9)
    # The global region counts those that are cut off.
    np.testing.assert_allclose(batch["image_feat"][0, 0], many["features"].mean(0), rtol=1e-6)
    np.testing.assert_array_equal(batch["image_feat"][0, 1:], many["features"][:3])
    np.testing.assert_array_equal(batch["image_loc"][:, 0], [[0, 0, 1, 1, 1]] * 2)
    assert batch["image_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert not batch["image_feat"][1, 3].any() and batch["action_mask"].all()


CSV_FORMS = {
    "plain": ("a,one\nb,two, three,four\n", [("a", "one"), ("b", "two, three,four")]),
    "quoted": ('a,"one, two"\nb,"say ""hi"""\n', [("a", "one, two"), ("b", 'say "hi"')]),
    "stray quote": ('a,"one\nb,two\n', [("a", "one"), ("b", "two")]),
    "inner quote": ('a,he says "hi", loudly\n', [("a", 'he says "hi", loudly')]),
    "blank lines": ("\na,one\r\n\nb,two", [("a", "one"), ("b", "two")]),
    "header": ("key,vid_key,video_id,sentence\nr0,m0,a,one, two\nr1,m1,b,three\n",
               [("a", "one, two"), ("b", "three")]),
    "other header": ("sentence,video_id\none,a\n", [("a", "one")]),
    "mark": ("\ufeffa,one\n", [("a", "one")]),
    "accents": ("a,crème brûlée\n", [("a", "crème brûlée")]),
}  # fmt: skip


@pytest.mark.parametrize("name", CSV_FORMS)
def test_csv_forms(tmp_path, name):
    text, expected = CSV_FORMS[name]
    (tmp_path / "c.csv").write_text(text, encoding="utf-8", newline="")
    assert read_captions(str(tmp_path / "c.csv")) == expected


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "holds no captions"),
        (b"key,vid_key,video_id,sentence\n", "holds no captions"),
        (b"a,one\nb\n", 'line 2: "b" is not a clip id'),
        (b"a,one\nb, \n", r'line 2 \(clip "b"\): the caption is'),
        (b"a,one\n,two\n", "line 2: the clip id is empty"),
        (b"a,\xff\xfe\n", "UTF-8"),
    ],
)
def test_csv_faults(tmp_path, contents, message):
    (tmp_path / "c.csv").write_bytes(contents)
    with pytest.raises(DataError, match=rf"c\.csv: .*{message}"):
        read_captions(str(tmp_path / "c.csv"))


def test_missing_csv(tmp_path):
    with pytest.raises(DataError, match="absent.csv"):
        read_captions(str(tmp_path / "absent.csv"))


def test_unknown_clips_are_counted_and_listed(make):
    lines = "".join(f"x{number},one\n" for number in range(7)) + "a,two\n"
    with pytest.raises(DataError, match=r"7 of 8 clips have no features .*x0, .*x4 and 2 more"):
        make(lines)


def test_captions_name_clips_by_the_rules_that_packing_has(make, caplog):
    caplog.set_level("INFO", "paddlevideo")
    dataset = make("video,caption\nb.mp4,one\nclips/a,two\nb.mp4,three\nc,four\n")
    assert dataset.video_ids == ["b", "a", "c"] and dataset.truth().tolist() == [0, 1, 0, 2]
    assert "1 by id, 1 after dropping the file's ending, 1 by the end of its path" in caplog.text


@pytest.mark.parametrize(
    "lines, message",
    [
        ("one,a\ntwo, three,b\n", "The ids seem to be in another column"),
        ("0,a,one\n1,b,two\n", "The ids seem to be in another column"),
        ("a.mp4,one\na.avi,two\n", '"a.mp4" and "a.avi" may both mean "a"'),
        ("A,one\nd/b,two\nx/b,three\n", '"d/b" and "x/b" may both mean "b"'),
        ("ab,one\n", 'The nearest to "ab" is "b"'),
    ],
)
def test_captions_of_no_clip_are_refused_with_the_likely_reason(make, lines, message):
    with pytest.raises(DataError, match=f"test.csv: .*{message}"):
        make(lines)


class Attack:
    def __reduce__(self):
        return os.system, ("true",)


def set_in(name, key, value):
    def change(records):
        records[name] = {**records[name], key: value}
        if value is None:
            del records[name][key]

    return change


RECORD_FAULTS = {
    "code": (set_in("a", "extra", Attack()), r'the name "\w+\.system"'),
    "other id": (set_in("a", "video_id", "b"), 'record is of clip "b"'),
    "no boxes": (set_in("a", "boxes", None), "lacks boxes"),
    "nan": (set_in("a", "features", np.full((2, F), np.nan)), r"features\[0, 0\] is nan"),
    "width": (set_in("a", "features", np.zeros((2, 5))), "5 wide, but vision_feature_dim is 6"),
    "actions": (set_in("a", "action_features", np.zeros((2, 5))), "action_feature_dim"),
    "counts": (set_in("a", "boxes", np.zeros((3, 4))), r"boxes has shape \(3, 4\)"),
    "empty": (set_in("a", "features", np.zeros((0, F))), "no regions"),
    "flat": (set_in("a", "features", np.zeros(F)), "two-dimensional"),
    "box": (set_in("a", "boxes", np.full((2, 4), 500.0)), "box 0 is"),
    "truncated": (
        lambda records: records.update(a=pickle.dumps(records["a"])[:-9]),
        "is cut short",
    ),
    "list": (lambda records: records.update(a=pickle.dumps([1])), "a list, not a dictionary"),
}


@pytest.mark.parametrize("name", RECORD_FAULTS)
def test_a_faulty_record_names_file_and_clip(make, name):
    change, message = RECORD_FAULTS[name]
    dataset = make(change=change)
    with pytest.raises(DataError, match=rf'test\.lmdb: clip "a": .*({message})'):
        list(dataset.context())


@pytest.mark.parametrize(
    "option", [{"spatials_dim": 4}, {"max_seq_length": 2}, {"gallery_batch": 0}]
)
def test_impossible_sizes(make, option):
    with pytest.raises(ConfigError):
        make(**option)


@pytest.mark.parametrize("subdir", [True, False])
def test_folder_or_single_file(tmp_path, subdir):
    path = save_lmdb(tmp_path / "store", {"a": make_record("a")}, subdir)
    store = RecordFile(path)
    assert len(store) == 1 and store.missing(["a", "b"]) == ["b"]
    assert store.read_named("a").regions.shape == (3, F)
    with pytest.raises(DataError, match='clip "b": has no record'):
        store.read_named("b")


@pytest.mark.parametrize("keep", [0, 100, 4096, 8192, 0.5, -4096])
def test_truncated_lmdb(tmp_path, keep):
    path = save_lmdb(tmp_path / "store", {f"clip{n}": make_record("a", 40) for n in range(9)})
    file = tmp_path / "store" / "data.mdb"
    with lmdb.open(path, readonly=True, lock=False) as store:
        used = (store.info()["last_pgno"] + 1) * store.stat()["psize"]
    size = int(used * keep) if isinstance(keep, float) else keep if keep >= 0 else used + keep
    os.truncate(file, size)
    with pytest.raises(DataError, match="store.*(cut short|damaged)"):
        RecordFile(path).missing(["clip0"])


def test_absent_lmdb_and_noise(tmp_path):
    (tmp_path / "noise").write_bytes(bytes(range(256)) * 64)
    for name, message in [("absent", "No such file"), ("noise", "is damaged, or not an LMDB")]:
        with pytest.raises(DataError, match=message):
            RecordFile(tmp_path / name).missing(["a"])


def test_two_stores_of_one_file_and_a_file_replaced(tmp_path):
    first = RecordFile(save_lmdb(tmp_path / "one", {"a": make_record("a", 1)}))
    assert len(first.read(0).regions) == 1
    assert len(RecordFile(tmp_path / "one").read_named("a").regions) == 1
    save_lmdb(tmp_path / "two", {"a": make_record("a", 2)})
    shutil.copy(tmp_path / "two" / "data.mdb", tmp_path / "new")
    os.replace(tmp_path / "new", tmp_path / "one" / "data.mdb")
    assert len(first.read(0).regions) == 2


def read_in_child(store, results):
    try:
        results.put(store.read_named("a").regions.tolist())
    except BaseException as fault:
        results.put(repr(fault))


def test_a_store_opened_before_a_fork_is_opened_again(tmp_path):
    store = RecordFile(save_lmdb(tmp_path / "one", {"a": make_record("a")}))
    here = store.read_named("a").regions.tolist()
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=read_in_child, args=(store, results))
    child.start()
    assert results.get() == here
    child.join()
    assert child.exitcode == 0 and store.read_named("a").regions.tolist() == here
