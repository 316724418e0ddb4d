"""Stores of tar files: nothing is lost on the way there and back, whenever it is interrupted."""

import errno
import json
import tarfile
from itertools import count

import numpy as np
import pytest

from paddlevideo.cli.prepare_data import main
from paddlevideo.loader.clips.opening import open_clips
from paddlevideo.loader.store import FeatureStore
from paddlevideo.loader.store.records import encode
from paddlevideo.prepare import faults_of, fix, to_tars
from paddlevideo.prepare import tars as tars_module
from paddlevideo.utils.errors import DataError
from tests.killing import dies_at
from tests.loader.clips import assert_same, make_clip, write
from tests.prepare.test_pack import damaged_store

EXTRACTION = {"regions": {"frames": 3}, "files": {"regions": "f.onnx"}}
NAMES = {"region": [f"r{n}" for n in range(9)], "action": [f"a{n}" for n in range(7)]}


def clips(number=7):
    odd = [
        make_clip(0, "a.b/c.1"),
        make_clip(
            1, "../../etc/x", region_classes=None, action_classes=None, captions=[], times=[]
        ),
        make_clip(2, "ümläut.mp4", regions=40, span=None, source="", times=[]),
    ]
    return odd + [make_clip(number) for number in range(3, number)]


def make_store(path, dtype="float16"):
    made = {"command": "paddlevideo extract", "extraction": EXTRACTION}
    return write(path, clips(), dtype=dtype, vocabularies=NAMES, made_by=made)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_store_becomes_tar_files_and_again_the_same_store(tmp_path, dtype, capsys):
    store = make_store(tmp_path / "s", dtype)
    tars, back = tmp_path / "t", tmp_path / "back"
    to = ["--to", "webdataset", "--shards", "3", "--output", str(tars)]
    assert main(["convert", str(tmp_path / "s"), *to]) == 0
    assert "7 clips, 12 captions, 3 shards" in capsys.readouterr().out
    assert main(["convert", str(tars), "--output", str(back)]) == 0
    assert main(["validate", str(tars)]) == main(["validate", str(back)]) == 0
    between, again = FeatureStore(tars), FeatureStore(back)
    for index, clip in enumerate(clips()):
        assert encode(again[index], dtype) == encode(store[index], dtype)
        assert between.about(index) == store.about(index) == again.about(index)
        assert between.find(clip.id) == index
    for other in (between, again):
        assert other.manifest.sizes == store.manifest.sizes
        assert other.manifest.dtype == dtype
        assert other.manifest.vocabularies == NAMES
        assert other.manifest.lost_mass == pytest.approx(store.manifest.lost_mass)
        assert other.extraction() == EXTRACTION
    assert between.find("absent") is None


def test_tar_files_do_not_depend_on_when_and_where_they_are_written(tmp_path):
    store = make_store(tmp_path / "s")
    for name in ("a", "b"):
        to_tars(store, tmp_path / name, 2)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    with tarfile.open(tmp_path / "a" / "shard-00000.tar") as tar:
        members = tar.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}
    assert all(member.isreg() and member.name.count("/") == 0 for member in members)


def test_a_full_disk_says_how_to_continue(tmp_path, monkeypatch, capsys):
    make_store(tmp_path / "s")
    convert = ["convert", str(tmp_path / "s"), "--to", "webdataset", "--shards", "3", "--output"]
    really_write, written = tars_module.write_whole, []

    def until_full(path, write):
        if path.name == "shard-00001.index":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written.append(path.name)
        really_write(path, write)

    monkeypatch.setattr(tars_module, "write_whole", until_full)
    assert main([*convert, str(tmp_path / "t")]) == 1
    said = "shard-00001.index: cannot be written (No space left on device). Free some space and run"
    assert said in capsys.readouterr().err
    assert not (tmp_path / "t" / "store.json").exists()
    monkeypatch.setattr(tars_module, "write_whole", really_write)
    first = (tmp_path / "t" / "shard-00000.tar").stat()
    assert main([*convert, str(tmp_path / "t")]) == main([*convert, str(tmp_path / "whole")]) == 0
    assert (tmp_path / "t" / "shard-00000.tar").stat() == first  # not written again
    assert contents(tmp_path / "t") == contents(tmp_path / "whole")


def test_webdataset_reads_them(tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="reads the tar files independently")
    store = make_store(tmp_path / "s")
    to_tars(store, tmp_path / "t", 2)
    paths = str(tmp_path / "t" / "shard-{00000..00001}.tar")
    samples = list(webdataset.WebDataset(paths, shardshuffle=False).decode())
    assert [sample["json"]["id"] for sample in samples] == [clip.id for clip in clips()]
    for sample, index in zip(samples, range(7), strict=True):
        clip = store[index]
        np.testing.assert_array_equal(sample["regions.npy"], clip.regions)
        np.testing.assert_array_equal(sample["boxes.npy"], clip.boxes)
        assert sample["actions.npy"].dtype == np.float16
        assert sample["json"]["captions"] == list(clip.captions)
        assert sample["json"]["size"] == [clip.image_h, clip.image_w]


def test_a_killed_conversion_is_completed_by_the_same_command(tmp_path):
    store = make_store(tmp_path / "s")
    to_tars(store, tmp_path / "whole", 3)
    for moment in count():
        folder = tmp_path / str(moment)
        died = dies_at(lambda folder=folder: to_tars(store, folder / "t", 3), moment)
        if (folder / "t" / "store.json").exists():
            assert [FeatureStore(folder / "t").read(n).id for n in (0, 6)] == ["a.b/c.1", "clip6"]
        else:
            with pytest.raises(DataError, match="is not finished|no such feature store|is not a"):
                FeatureStore(folder / "t")
        to_tars(store, folder / "t", 3)
        assert contents(folder / "t") == contents(tmp_path / "whole")
        if not died:
            break
    assert moment > 8


def test_a_finished_conversion_is_not_repeated_and_another_one_refused(tmp_path):
    store = make_store(tmp_path / "s")
    to_tars(store, tmp_path / "t", 3)
    before = (tmp_path / "t" / "shard-00000.tar").stat().st_mtime_ns
    assert to_tars(store, tmp_path / "t", 3).clips == 7
    assert (tmp_path / "t" / "shard-00000.tar").stat().st_mtime_ns == before
    with pytest.raises(DataError, match="holds 7 clips that another command wrote.*shards was 3"):
        to_tars(store, tmp_path / "t", 2)
    with pytest.raises(DataError, match="7 clips cannot fill 8 shards"):
        to_tars(store, tmp_path / "u", 8)


def test_a_shard_that_was_removed_from_an_unfinished_conversion_is_named(tmp_path):
    store = make_store(tmp_path / "s")
    to_tars(store, tmp_path / "t", 3)
    (tmp_path / "t" / "store.json").rename(tmp_path / "t" / "unfinished.json")
    (tmp_path / "t" / "shard-00001.tar").unlink()
    with pytest.raises(DataError, match=r"shard-00001\.tar: was changed. Remove .*/t and run"):
        to_tars(store, tmp_path / "t", 3)


def test_an_id_that_occurs_twice_is_not_converted(tmp_path):
    with pytest.raises(DataError, match="clip"):
        to_tars(damaged_store(tmp_path / "s"), tmp_path / "t", 1)
    assert not (tmp_path / "t" / "store.json").exists()


def test_validation_names_a_changed_sample_and_fix_leaves_it_out(tmp_path):
    to_tars(make_store(tmp_path / "s"), tmp_path / "t", 2)
    tar = tmp_path / "t" / "shard-00001.tar"
    data = bytearray(tar.read_bytes())
    data[2000] ^= 1
    tar.write_bytes(data)
    store = FeatureStore(tmp_path / "t")
    faults = [fault for fault in faults_of(store) if fault.kind == "damaged"]
    assert [(fault.shard, fault.clip) for fault in faults] == [("shard-00001.tar", "number 0")]
    with pytest.raises(DataError, match=r"shard-00001\.tar: clip 0: its checksum differs"):
        store.read(3)
    assert fix(store, tmp_path / "fixed").manifest.clips == 6
    assert_same(FeatureStore(tmp_path / "fixed")[3], store[4])


def test_options_that_do_not_apply_are_refused(tmp_path, capsys):
    make_store(tmp_path / "s")
    command = ["convert", str(tmp_path / "s"), "--output", str(tmp_path / "x"), "--to"]
    for rest in (["webdataset", "--dtype", "float32"], ["npy", "--shards", "2"]):
        with pytest.raises(SystemExit):
            main([*command, *rest])
        assert "is for --to store" in capsys.readouterr().err


def test_the_samples_of_other_programs_are_packed(tmp_path, capsys):
    webdataset = pytest.importorskip("webdataset", reason="writes the tar files independently")
    made = [make_clip(number) for number in range(4)]
    with webdataset.TarWriter(str(tmp_path / "other-000.tar")) as writer:
        for number, clip in enumerate(made):
            texts = {"id": f"v.{number}", "size": [240, 320], "captions": clip.captions}
            writer.write(
                {
                    "__key__": f"train/sample{number}",
                    "actions.npy": clip.actions,
                    "action_classes.npy": clip.action_classes,
                    "regions.npy": clip.regions.astype("float64"),
                    "region_classes.npy": clip.region_classes.dense(),
                    "boxes.npy": clip.boxes,
                    "json": texts,
                }
            )
    assert main(["pack", str(tmp_path), "--output", str(tmp_path / "s")]) == 2
    assert "inside the folder of inputs" in capsys.readouterr().err
    source = tmp_path / "other-000.tar"
    assert main(["pack", str(source), "--output", str(tmp_path / "s")]) == 0
    packed = FeatureStore(tmp_path / "s")
    assert [packed.about(n).id for n in range(4)] == ["v.0", "v.1", "v.2", "v.3"]
    assert json.loads((tmp_path / "s" / "store.json").read_text())["sizes"] == {
        "region": 12,
        "action": 10,
        "region_classes": 9,
        "action_classes": 1 + max(int(clip.action_classes.max()) for clip in made),
    }
    np.testing.assert_allclose(packed[2].regions, made[2].regions, rtol=1e-3)
    np.testing.assert_array_equal(open_clips(source).read(2).boxes, made[2].boxes)
