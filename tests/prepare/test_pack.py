"""Packing, and going on with it; checking; and back to PaddleVideo's files."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.loader.clips.records import RecordFile
from paddlevideo.loader.clips.rows import RowFile
from paddlevideo.loader.store import FeatureStore, Sizes, StoreWriter
from paddlevideo.loader.store import writer as writer_module
from paddlevideo.prepare import (
    PackOptions,
    faults_of,
    fix,
    pack,
    to_lmdb,
    to_npy,
)
from paddlevideo.utils.errors import DataError
from tests.loader.clips import SIZES, make_clip, write
from tests.tiny_data import write_retrieval_set, write_training_rows

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    write_training_rows(folder / "train.npy", 12)
    write_retrieval_set(folder, 7)
    return folder


def options(folder, output, *sources, **more):
    return PackOptions([folder / source for source in sources], output, **more)


def test_rows_to_a_store_and_back(folder, tmp_path):
    packed = options(folder, tmp_path / "s", "train.npy", dtype="float32", kept_mass=1.0)
    summary = pack(packed)
    assert summary.written == 12 and summary.manifest.sizes.action_classes > 0
    store = FeatureStore(tmp_path / "s")
    assert not list(faults_of(store))
    assert to_npy(store, tmp_path / "back.npy") == 12
    first, second = RowFile(folder / "train.npy"), RowFile(tmp_path / "back.npy")
    assert first.ids() == second.ids()
    for index in range(12):
        again = vars(second.read(index))
        for name, value in vars(first.read(index)).items():
            if isinstance(value, np.ndarray):
                np.testing.assert_allclose(again[name], value, rtol=1e-6, err_msg=name)
            else:
                assert again[name] == value


def test_records_and_captions_to_a_store_and_back(folder, tmp_path):
    packed = options(folder, tmp_path / "s", "test.lmdb", captions=[folder / "test.csv"])
    assert pack(packed).tallies == {}
    store = FeatureStore(tmp_path / "s")
    assert to_lmdb(store, tmp_path / "back.lmdb") == (7, 7)
    first, second = RecordFile(folder / "test.lmdb"), RecordFile(tmp_path / "back.lmdb")
    assert first.ids() == second.ids()
    for index in range(7):
        np.testing.assert_allclose(
            second.read(index).regions, first.read(index).regions, rtol=1e-3, atol=1e-3
        )
    lines = (tmp_path / "back.csv").read_text().splitlines()
    assert len(lines) == 7 and lines[0].startswith("video0,")
    with pytest.raises(DataError, match="already exists"):
        to_lmdb(store, tmp_path / "back.lmdb")


def test_npz_files_to_a_store(tmp_path):
    clips = tmp_path / "clips"
    (clips / "sub").mkdir(parents=True)
    for name in ("a", "sub/b"):
        clip = make_clip(1)
        np.savez(
            clips / f"{name}.npz",
            regions=clip.regions,
            boxes=clip.boxes,
            image_h=240,
            image_w=320,
            actions=clip.actions,
            action_classes=clip.action_classes,
            region_classes=clip.region_classes.dense(),
        )
    pack(PackOptions([clips], tmp_path / "s"))
    store = FeatureStore(tmp_path / "s")
    assert [store[number].id for number in (0, 1)] == ["a", "sub/b"]
    assert store.manifest.lost_mass["largest"] <= 0.001 + 1e-6
    (clips / "c.npz").write_bytes(b"PK damaged")
    with pytest.raises(DataError, match="c.npz: is not a whole .npz"):
        pack(PackOptions([clips], tmp_path / "t"))


def test_boxes_that_are_shares_of_the_image_are_told(tmp_path):
    arrays = {"regions": np.ones((1, 4)), "actions": np.ones((1, 4)), "image_h": 40, "image_w": 40}
    for name, box in {"shares": [0, 0, 0.5, 1], "pixels": [0, 0, 20, 40]}.items():
        (tmp_path / "clips").mkdir(exist_ok=True)
        np.savez(tmp_path / "clips" / f"{name}.npz", boxes=np.array([box]), **arrays)
    summary = pack(PackOptions([tmp_path / "clips"], tmp_path / "s"))
    (line,) = (line for line in summary.lines() if "within one pixel" in line)
    assert line.endswith("1: shares")


def test_clips_and_captions_without_each_other_are_counted(folder, tmp_path):
    captions = tmp_path / "some.csv"
    captions.write_text("video0,one\nvideo0,two\nvideo99,nobody's\n")
    summary = pack(options(folder, tmp_path / "a", "test.lmdb", captions=[captions]))
    text = "\n".join(summary.lines())
    assert "clips without a caption: 6" in text
    assert "captions were not used: 1: video99" in text
    store = FeatureStore(tmp_path / "a")
    assert len(store) == 7 and list(store[0].captions) == ["one", "two"]
    wanted = {"captions": [captions], "require_captions": True}
    summary = pack(options(folder, tmp_path / "b", "test.lmdb", **wanted))
    assert len(FeatureStore(tmp_path / "b")) == 1
    assert "left out because they have no caption" in "\n".join(summary.lines())


def test_a_finished_store_is_left_alone(folder, tmp_path):
    packed = options(folder, tmp_path / "s", "test.lmdb")
    pack(packed)
    before = (tmp_path / "s" / "store.json").stat().st_mtime_ns
    assert "nothing to do" in "\n".join(pack(packed).lines())
    assert (tmp_path / "s" / "store.json").stat().st_mtime_ns == before
    for change, message in (
        ({"kept_mass": 0.5}, "kept_mass was 0.999, now 0.5"),
        ({"dtype": "float32"}, 'dtype was "float16", now "float32"'),
        ({"shard_clips": 3}, "shard_clips was null, now 3"),
        ({"shard_gigabytes": 1.0}, "shard_gigabytes was 4.0, now 1.0"),
        ({"sources": [folder / "train.npy"]}, r"sources differ: .*test\.lmdb.* is now .*train"),
        ({"captions": [folder / "test.csv"]}, "captions differ: there were 0, now 1"),
    ):
        with pytest.raises(DataError, match=f"another command wrote.*{message}"):
            pack(replace(packed, **change))
    pack(replace(packed, skip_bad=1))  # which decides nothing about what is written


def test_a_store_of_inputs_that_were_changed_is_not_called_finished(tmp_path):
    write(tmp_path / "a", [make_clip(0)])
    captions = tmp_path / "c.csv"
    captions.write_text("clip0,one\n")
    packed = options(tmp_path, tmp_path / "s", "a", captions=[captions])
    pack(packed)
    assert "nothing to do" in "\n".join(pack(packed).lines())
    captions.write_text("clip0,two\n")
    os.utime(captions, ns=(0, 1))
    with pytest.raises(DataError, match=r"captions differ: .*c\.csv was changed"):
        pack(packed)
    repaired = tmp_path / "t"
    fix(FeatureStore(tmp_path / "a"), repaired)
    assert fix(FeatureStore(tmp_path / "a"), repaired).written == 0
    shutil.rmtree(tmp_path / "a")
    write(tmp_path / "a", [make_clip(0), make_clip(1)])
    with pytest.raises(DataError, match="sources differ: .*a was changed"):
        fix(FeatureStore(tmp_path / "a"), repaired)
    with pytest.raises(DataError, match="by tools/prepare_data.py pack, not by .* --fix"):
        fix(FeatureStore(tmp_path / "a"), tmp_path / "s")


def test_a_manifest_that_lies_about_its_clips_is_checked_as_far_as_they_go(tmp_path):
    write(tmp_path / "s", [make_clip(0)])
    manifest = json.loads((tmp_path / "s" / "store.json").read_text())
    manifest["clips"] = manifest["shards"][0]["clips"] = 10**15
    (tmp_path / "s" / "store.json").write_text(json.dumps(manifest))
    [fault] = faults_of(FeatureStore(tmp_path / "s"))
    assert fault.fault == f"1 records; expected {10**15}"
    with pytest.raises(DataError, match="its manifest says that shard-00000.lmdb, of .* bytes"):
        fix(FeatureStore(tmp_path / "s"), tmp_path / "t")


def test_a_bad_clip_stops_it_or_is_listed(tmp_path):
    write(tmp_path / "a", [make_clip(0), make_clip(1)])
    write(tmp_path / "b", [make_clip(1), make_clip(2)])  # clip1 again
    with pytest.raises(DataError, match=r'clip "clip1": an earlier clip has its id.*\n--skip_bad'):
        pack(options(tmp_path, tmp_path / "s", "a", "b"))
    summary = pack(options(tmp_path, tmp_path / "t", "a", "b", skip_bad=1))
    assert summary.manifest.clips == 3
    skipped = [json.loads(line) for line in (tmp_path / "t.skipped.jsonl").read_text().splitlines()]
    assert [entry["clip"] for entry in skipped] == ["clip1"]


def test_sources_of_other_widths_are_refused(folder, tmp_path):
    other = Sizes(region=5, action=10)
    clip = replace(make_clip(), regions=np.ones((3, 5)), region_classes=None, action_classes=None)
    with StoreWriter(tmp_path / "a", other) as writer:
        writer.add(clip)
        writer.finish()
    with pytest.raises(DataError, match="region is 5 wide, but 12"):
        pack(PackOptions([folder / "train.npy", tmp_path / "a"], tmp_path / "s"))


KILLED = """
import os, signal, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from paddlevideo.loader.store import StoreWriter, writer as writer_module
from paddlevideo.prepare import PackOptions, pack

writer_module.BATCH_BYTES = 3_000
flush, calls = StoreWriter.flush, []

def flush_or_die(self):
    calls.append(1)
    flush(self)
    if len(calls) == {when}:
        os.kill(os.getpid(), signal.SIGKILL)

StoreWriter.flush = flush_or_die
pack(PackOptions([Path({source!r})], Path({output!r}), captions=[Path({captions!r})]))
"""


def test_packing_goes_on_after_kill_9(folder, tmp_path):
    captions = tmp_path / "c.csv"
    captions.write_text("".join(f"clip{n:03d},caption {n}\n" for n in range(12)))
    fields = {
        "root": str(ROOT),
        "source": str(folder / "train.npy"),
        "output": str(tmp_path / "s"),
        "captions": str(captions),
    }
    killed = subprocess.run([sys.executable, "-c", KILLED.format(when=3, **fields)], check=False)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(DataError, match="not finished"):
        FeatureStore(tmp_path / "s")
    packed = options(folder, tmp_path / "s", "train.npy", captions=[captions])
    summary = pack(packed)
    assert 0 < summary.before < 12 and summary.before + summary.written == 12
    assert summary.tallies == {}, "captions that the first run used are used"
    whole = FeatureStore(tmp_path / "s")
    assert [list(whole[n].captions) for n in range(12)] == [[f"caption {n}"] for n in range(12)]
    assert not list(faults_of(whole))


# ---------------------------------------------------------------------------- validation


def damaged_store(path):
    """A store with one clip of each kind of fault, which a writer would refuse."""
    far, near = make_clip(5), make_clip(6)
    far.boxes[0] = (0, 0, 900, 10)
    near.boxes[0] = (-1.5, 0, 321.5, 10)
    clips = [
        make_clip(0),
        replace(make_clip(1), captions=[], times=[]),
        replace(make_clip(2), captions=["  ", "a dog"], times=[(0, 1), (1, 2)]),
        replace(make_clip(3), action_classes=np.array([0, 7])),
        make_clip(4, regions=0, region_classes=None),
        far,
        near,
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer_module, "check_clip", lambda *arguments: None)
        with StoreWriter(path, SIZES, shard_bytes=1) as writer:
            for clip in clips:
                writer.add(clip)
            writer.add(make_clip(0))  # in another shard, so the writer does not see it
            writer.finish()
    return FeatureStore(path)


def test_faults_are_found_and_a_repaired_copy_has_none(tmp_path):
    store = damaged_store(tmp_path / "s")
    found = {(fault.kind, fault.clip) for fault in faults_of(store)}
    assert found == {
        ("no caption", "clip1"),
        ("caption", "clip2"),
        ("class", "clip3"),
        ("size", "clip4"),
        ("box", "clip5"),
        ("box", "clip6"),
        ("duplicate", "clip0"),
    }
    summary = fix(store, tmp_path / "t")
    repaired = FeatureStore(tmp_path / "t")
    assert {fault.kind for fault in faults_of(repaired)} == {"no caption"}
    kept = [repaired[number] for number in range(len(repaired))]
    assert [clip.id for clip in kept] == ["clip0", "clip1", "clip2", "clip6"]
    assert list(kept[2].captions) == ["a dog"] and kept[2].times == [(1, 2)]
    assert kept[3].boxes[0].tolist() == [0, 0, 320, 10]
    text = "\n".join(summary.lines())
    assert "left out: box: 1: clip5" in text and "skipped because they are bad: 1: clip0" in text


def test_flipped_bytes_and_shards_that_were_exchanged_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "BATCH_BYTES", 1)
    write(tmp_path / "s", [make_clip(n) for n in range(4)], shard_bytes=1)
    shards = sorted((tmp_path / "s").glob("shard-*"))
    content = bytearray(shards[1].read_bytes())
    content[content.index(b"caption 1")] ^= 1
    shards[1].write_bytes(content)
    shards[2].write_bytes(shards[3].read_bytes())
    found = [(fault.kind, fault.shard) for fault in faults_of(FeatureStore(tmp_path / "s"))]
    assert ("damaged", shards[1].name) in found
    assert ("checksum", shards[2].name) in found and ("duplicate", shards[3].name) in found
    os.truncate(shards[0], 5000)
    kinds = {(fault.kind, fault.shard) for fault in faults_of(FeatureStore(tmp_path / "s"))}
    assert ("shard", shards[0].name) in kinds
    fix(FeatureStore(tmp_path / "s"), tmp_path / "t")
    assert not list(faults_of(FeatureStore(tmp_path / "t")))


def test_values_that_are_not_finite_are_found(tmp_path, monkeypatch):
    from paddlevideo.loader.store import records

    monkeypatch.setattr(records, "as_features", lambda array, dtype, *names: array.astype(dtype))
    monkeypatch.setattr(writer_module, "check_clip", lambda *arguments: None)
    clip = make_clip(3)
    clip.regions[1, 2] = np.inf
    store = write(tmp_path / "s", [make_clip(0), clip])
    [fault] = faults_of(store)
    assert (fault.kind, fault.clip, fault.fault) == ("not finite", "clip3", "regions[1, 2] is inf")
