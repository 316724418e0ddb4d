"""Files that clips come from: what is wrong with one is said, and never ends in a traceback."""

import json
import os
import zipfile
from pathlib import Path

import lmdb
import numpy as np
import pytest

from paddlevideo.cli import prepare_data
from paddlevideo.files import npz
from paddlevideo.loader.clips.folder import ClipFolder
from paddlevideo.loader.clips.opening import open_clips
from paddlevideo.loader.clips.records import RecordFile
from paddlevideo.loader.store import FeatureStore
from paddlevideo.prepare import PackOptions, fix, pack
from paddlevideo.utils.errors import ConfigError, DataError
from tests.loader.clips import make_clip
from tests.tiny_data import write_training_rows


def arrays(**changes):
    clip = make_clip(1)
    fields = {
        "regions": clip.regions,
        "boxes": clip.boxes,
        "image_h": 240,
        "image_w": 320,
        "actions": clip.actions,
        "action_classes": clip.action_classes,
    }
    return {**fields, **changes}


def member(shape):
    """An .npy of float32 with this shape and no data."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def with_member(path, content):
    np.savez(path, **{key: value for key, value in arrays().items() if key != "regions"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("regions.npy", content)


def with_bytes_changed(path, change):
    np.savez_compressed(path, **arrays())
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)


def encrypt(content):
    place = -1
    while (place := content.find(b"PK\x01\x02", place + 1)) >= 0:
        content[place + 8] |= 1


def spoil_stream(content):
    start = content.index(b"regions.npy") + len(b"regions.npy") + 60
    content[start : start + 200] = b"\xff" * 200


def an_npy(path):
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))


DAMAGE = {
    "an .npy": an_npy,
    "no zip": lambda path: path.write_bytes(b"PK damaged"),
    "a pipe": os.mkfifo,
    "encrypted": lambda path: with_bytes_changed(path, encrypt),
    "a damaged stream": lambda path: with_bytes_changed(path, spoil_stream),
    "a shape beyond memory": lambda path: with_member(path, member((1 << 55, 9))),
    "a shape beyond any number": lambda path: with_member(path, member((1 << 70, 9))),
    "a junk header": lambda path: with_member(path, member("'''(")),
    "objects": lambda path: np.savez(path, **arrays(regions=np.array([{}, []], dtype=object))),
    "text": lambda path: np.savez(path, **arrays(regions=np.array([["a"]]))),
    "a bomb": lambda path: np.savez_compressed(path, **arrays(regions=np.zeros((3000, 12)))),
    "a class beyond what fits": lambda path: np.savez(
        path, **arrays(action_classes=np.array([0, 1 << 20]))
    ),
    "a class beyond 63 bits": lambda path: np.savez(
        path, **arrays(action_classes=np.array([0, 1 << 63], np.uint64))
    ),
    "a class below -1": lambda path: np.savez(path, **arrays(action_classes=np.array([0, -2]))),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_bad_npz_is_named_and_can_be_skipped(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(npz, "_SMALL", 1 << 12)
    monkeypatch.setattr(npz, "_RATIO", 50)
    (tmp_path / "clips").mkdir()
    np.savez(tmp_path / "clips" / "good.npz", **arrays())
    DAMAGE[kind](tmp_path / "clips" / "bad.npz")
    options = {"sources": [tmp_path / "clips"], "output": tmp_path / "s"}
    with pytest.raises(DataError, match=r"bad\.npz: .*\n--skip_bad"):
        pack(PackOptions(**options))
    pack(PackOptions(**options, skip_bad=1))
    assert [FeatureStore(tmp_path / "s")[0].id] == ["good"]


def test_arrays_that_nobody_asked_for_are_not_unpacked(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, **arrays())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.npy", b"no array")
    assert ClipFolder(tmp_path).read(0).id == "a"


def test_a_file_name_that_is_no_text_can_be_skipped(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/clips\xff"))
    folder.mkdir()
    for name in ("good.npz", os.fsdecode(b"bad\xff.npz")):
        np.savez(folder / name, **arrays())
    summary = pack(PackOptions([folder], tmp_path / "s", skip_bad=1))
    assert summary.manifest.clips == 1
    assert "udcff" in json.loads((tmp_path / "s.skipped.jsonl").read_text())["fault"]
    [source] = FeatureStore(tmp_path / "s").manifest.made_by["sources"]
    assert source["path"].endswith("clips\\xff") and source["files"] == 2


@pytest.mark.parametrize("number", [1 << 20, 1 << 40, -2])
def test_a_class_number_that_no_store_can_hold_is_refused(tmp_path, number):
    write_training_rows(tmp_path / "t.npy", 3)
    rows = np.load(tmp_path / "t.npy", allow_pickle=True)
    changed = list(rows[1])
    changed[9] = np.full(changed[10], number)
    rows = list(rows)
    rows[1] = tuple(changed)
    table = np.empty(3, dtype=object)
    table[:] = [tuple(row) for row in rows]
    np.save(tmp_path / "t.npy", table, allow_pickle=True)
    options = {"sources": [tmp_path / "t.npy"], "output": tmp_path / "s"}
    with pytest.raises(DataError, match=rf't\.npy: row 1 \(clip ".*"\): action class {number}'):
        pack(PackOptions(**options))
    pack(PackOptions(**options, skip_bad=1))
    assert len(FeatureStore(tmp_path / "s")) == 2


def test_a_width_that_no_store_can_have_is_refused(tmp_path):
    (tmp_path / "clips").mkdir()
    wide = np.empty((0, (1 << 20) + 1), np.float32)
    np.savez(tmp_path / "clips" / "a.npz", **arrays(actions=wide, action_classes=np.empty(0, int)))
    with pytest.raises(DataError, match="clips: action is 1048577; expected 0 to 1048576"):
        pack(PackOptions([tmp_path / "clips"], tmp_path / "s"))
    assert not (tmp_path / "s").exists()


def test_what_lmdb_says_of_a_key_is_a_clear_error(tmp_path, monkeypatch):
    with lmdb.open(str(tmp_path / "x.lmdb")) as environment, environment.begin(write=True) as all_:
        all_.put(b"a", b"b")
    source = RecordFile(tmp_path / "x.lmdb")

    def fail(path):
        raise lmdb.CorruptedError("page")

    monkeypatch.setattr("paddlevideo.loader.clips.records.environment", fail)
    with pytest.raises(DataError, match=r"x\.lmdb: is damaged, or not an LMDB"):
        next(source.items())


def test_a_pipe_is_no_source(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: is neither a regular file nor a folder"):
        open_clips(tmp_path / "pipe")


def test_a_saved_dictionary_is_a_clip_too(tmp_path):
    folder = tmp_path / "clips" / "part"
    folder.mkdir(parents=True)
    clip = arrays()
    np.save(folder / "ours.npy", dict(clip), allow_pickle=True)
    names = {"regions": "features", "actions": "action_features"}
    theirs = {names.get(key, key): value for key, value in clip.items()}
    np.save(folder / "theirs.npy", {**theirs, "objects": "not asked for"}, allow_pickle=True)
    np.save(folder / "bare.npy", clip["regions"])
    with pytest.raises(DataError, match="bare.npy: holds one array.*a dictionary of arrays"):
        pack(PackOptions([tmp_path / "clips"], tmp_path / "s"))
    pack(PackOptions([tmp_path / "clips"], tmp_path / "t", skip_bad=1))
    store = FeatureStore(tmp_path / "t")
    assert list(store.ids()) == ["part/ours", "part/theirs"]
    np.testing.assert_array_equal(store[0].regions, store[1].regions)
    assert store.manifest.sizes.action_classes == int(clip["action_classes"].max()) + 1


# ------------------------------------------------------------------------------ folders


def test_a_folder_is_walked_through_links_and_what_it_holds_besides_is_counted(tmp_path):
    folder, other = tmp_path / "clips", tmp_path / "other"
    for path in (folder / "part", other):
        path.mkdir(parents=True)
    for number, path in enumerate((folder / "a.npz", folder / "part" / "B.NPZ", other / "c.npz")):
        with open(path, "wb") as file:
            np.savez(file, **arrays(image_h=240 + number))
    (folder / "linked").symlink_to(other)
    (folder / "part" / "loop").symlink_to(folder)
    (folder / "._a.npz").write_bytes(b"Mac OS X")
    (folder / "a.txt").touch()
    summary = pack(PackOptions([folder], tmp_path / "c.store"))
    store = FeatureStore(tmp_path / "c.store")
    assert [store[n].id for n in range(len(store))] == ["a", "linked/c", "part/B"]
    line = f"{folder}: 2 other files left out: .txt 1, hidden 1"
    assert line in "\n".join(summary.lines())
    assert line in "\n".join(pack(PackOptions([folder], tmp_path / "c.store")).lines()), "again too"


def test_a_folder_without_clips_says_what_it_holds(tmp_path):
    (tmp_path / "a.mp4").touch()
    with pytest.raises(DataError, match=r"without clips of a known kind\n1 other file .*\.mp4 1"):
        open_clips(tmp_path)


def test_an_output_inside_a_source_is_told_before_the_work(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    with open(folder / "a.npz", "wb") as file:
        np.savez(file, **arrays())
    with pytest.raises(ConfigError, match="is inside the folder of inputs .*Name a path"):
        pack(PackOptions([folder], folder / "deep" / "c.store"))
    assert [path.name for path in folder.iterdir()] == ["a.npz"]
    pack(PackOptions([folder], folder / ".cache" / "c.store"))  # hidden: never an input
    pack(PackOptions([folder], tmp_path / "c.store"))
    store = FeatureStore(tmp_path / "c.store")
    with pytest.raises(ConfigError, match="--fix"):
        fix(store, store.path / "fixed.store")
    for kind in ("npy", "lmdb", "store"):
        words = ["convert", store.path, "--to", kind, "--output", store.path / "x"]
        assert prepare_data.main([str(word) for word in words]) == 2
