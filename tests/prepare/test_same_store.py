"""What makes a store the one that was asked for: its inputs, and its counts."""

import json
import os
import shutil

import numpy as np
import pytest

from paddlevideo.loader.store import FeatureStore
from paddlevideo.prepare import PackOptions, faults_of, fix, pack
from paddlevideo.utils.errors import DataError
from tests.tiny_data import write_training_rows


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_training_rows(tmp_path_factory.mktemp("sources") / "train.npy", 12)


def test_clip_files_that_differ_behind_equal_sizes_and_dates_are_other_inputs(tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    for number in range(2):
        np.savez(
            clips / f"c{number}.npz",
            regions=np.full((3, 4), number, np.float32),
            boxes=np.array([[0, 0, 5, 5]] * 3, np.float32),
            image_h=10,
            image_w=10,
            actions=np.zeros((2, 4), np.float32),
        )
    packed = PackOptions([clips], tmp_path / "s")
    pack(packed)
    for file in clips.iterdir():
        os.utime(file)
    assert pack(packed).written == 0  # dates are not contents
    dates = (clips / "c0.npz").stat()
    shutil.copyfile(clips / "c1.npz", clips / "c0.npz")
    os.utime(clips / "c0.npz", ns=(dates.st_atime_ns, dates.st_mtime_ns))
    with pytest.raises(DataError, match="clips was changed"):
        pack(packed)


@pytest.mark.parametrize(
    "change",
    [{"captions": 1}, {"payload": 1}, {"rows": 1.0}, {"mean": 0.5}, {"largest": 0.5}],
)
def test_counts_that_are_not_those_of_the_records_are_found(rows, tmp_path, change):
    pack(PackOptions([rows], tmp_path / "s", kept_mass=0.9))
    path = tmp_path / "s" / "store.json"
    manifest = json.loads(path.read_text())
    [(name, value)] = change.items()
    part = manifest["shards"][0] if name in manifest["shards"][0] else manifest["lost_mass"]
    part[name] = value
    path.write_text(json.dumps(manifest))
    [fault] = faults_of(FeatureStore(tmp_path / "s"))
    assert fault.kind == "count" and f"{name} {value}" in fault.fault
    fix(FeatureStore(tmp_path / "s"), tmp_path / "t")
    assert not list(faults_of(FeatureStore(tmp_path / "t")))


def test_leftovers_of_a_killed_run_go_with_the_same_command(rows, tmp_path):
    packed = PackOptions([rows], tmp_path / "s")
    pack(packed)
    for name in ("unfinished.json", ".unfinished.json.12.partial", "shard-00009.lmdb"):
        (tmp_path / "s" / name).write_text("")
    assert pack(packed).written == 0
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == [
        "shard-00000.lmdb",
        "store.json",
    ]
