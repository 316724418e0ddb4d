"""Writing a store that is interrupted: nothing is lost, and nobody takes it for whole."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.loader.store import ClassTargets, FeatureStore, StoreWriter
from paddlevideo.loader.store import writer as writer_module
from paddlevideo.loader.store.manifest import UNFINISHED
from paddlevideo.loader.store.shards import id_key
from paddlevideo.utils.errors import DataError
from tests.loader.clips import SIZES, assert_same, make_clip, write

ROOT = Path(__file__).parents[2]

KILLED = """
import os, signal, sys
sys.path.insert(0, {root!r})
from paddlevideo.loader.store import ClassTargets, FeatureStore, StoreWriter
from paddlevideo.loader.store import writer as writer_module
from tests.loader.clips import SIZES, make_clip

writer_module.BATCH_BYTES = 2_000
save = StoreWriter._save
calls = []

def save_or_die(self):
    calls.append(1)
    if len(calls) == {when}:
        os.kill(os.getpid(), signal.SIGKILL)
    save(self)

StoreWriter._save = save_or_die
with StoreWriter({path!r}, SIZES, shard_bytes=60_000) as writer:
    for number in range(writer.written, 60):
        writer.add(make_clip(number, regions=8))
    writer.finish()
"""


@pytest.mark.parametrize("when", [2, 4, 9])
def test_writing_goes_on_after_kill_9(tmp_path, when):
    """Killed between a batch's commit and the manifest that counts it: the worst moment."""
    path = tmp_path / "s"
    script = KILLED.format(root=str(ROOT), path=str(path), when=when)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    with pytest.raises(DataError, match="this store is not finished"):
        FeatureStore(path)
    again = KILLED.format(root=str(ROOT), path=str(path), when=0)
    subprocess.run([sys.executable, "-c", again], cwd=ROOT, check=True)
    store = FeatureStore(path)
    assert [store[number].id for number in range(len(store))] == [f"clip{n}" for n in range(60)]
    assert store.manifest.captions == 120 and not (path / UNFINISHED).exists()
    for number in (0, 17, 59):
        assert_same(store[number], make_clip(number, regions=8), 1e-3)


def test_an_unfinished_store_takes_no_other_sizes(tmp_path):
    with StoreWriter(tmp_path / "s", SIZES) as writer:
        writer.add(make_clip())
    with pytest.raises(DataError, match="an unfinished store with dtype float16"):
        StoreWriter(tmp_path / "s", SIZES, dtype="float32")
    with StoreWriter(tmp_path / "s", SIZES) as writer:
        assert writer.written == 1
        with pytest.raises(DataError, match="another process is writing"):
            StoreWriter(tmp_path / "s", SIZES)


def test_a_full_disk_loses_nothing_that_was_written(tmp_path):
    """A file-size limit stands for the full disk: LMDB's write fails in the same way."""
    path = tmp_path / "s"
    script = f"""
import resource, signal, sys
sys.path.insert(0, {str(ROOT)!r})
from paddlevideo.loader.store import ClassTargets, FeatureStore, StoreWriter
from paddlevideo.loader.store import writer as writer_module
from paddlevideo.utils.errors import DataError
from tests.loader.clips import SIZES, make_clip

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
writer_module.BATCH_BYTES = 20_000
writer = StoreWriter({str(path)!r}, SIZES)
try:
    for number in range(200):
        writer.add(make_clip(number, regions=8))
except DataError as fault:
    print(fault)
    sys.exit(3)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert "clips are complete. Free some space and run the same command again" in done.stdout
    with StoreWriter(path, SIZES) as writer:
        assert writer.written > 0
        for number in range(writer.written, 50):
            writer.add(make_clip(number, regions=8))
        writer.finish()
    assert [FeatureStore(path)[n].id for n in range(50)] == [f"clip{n}" for n in range(50)]


def clips_with_lost_mass():
    rows = np.random.default_rng(0).dirichlet(np.full(9, 0.3), (20, 3))
    return [
        make_clip(number, region_classes=ClassTargets.of(row, 0.9))
        for number, row in enumerate(rows)
    ]


@pytest.mark.parametrize("killed", ["before the manifest", "between batches"])
def test_a_store_that_was_interrupted_is_the_same_store(tmp_path, monkeypatch, killed):
    monkeypatch.setattr(writer_module, "BATCH_BYTES", 2_000)
    whole = write(tmp_path / "whole", clips_with_lost_mass(), shard_bytes=5_000)
    assert len(whole.manifest.shards) > 2 and whole.manifest.lost_mass["largest"] > 0.01
    for stop in range(1, 20, 3):
        folder = tmp_path / f"{stop}"
        with monkeypatch.context() as patch:
            writer = StoreWriter(folder, SIZES, shard_bytes=5_000)
            for clip in clips_with_lost_mass()[:stop]:
                writer.add(clip)
            if killed == "before the manifest":  # the batch is written, the manifest is not
                patch.setattr(StoreWriter, "_save", lambda self: None)
                writer.flush()
            writer._waiting = {}
            writer._close_shard()
            os.close(writer._lock)
        with StoreWriter(folder, SIZES, shard_bytes=5_000) as writer:
            for clip in clips_with_lost_mass()[writer.written :]:
                writer.add(clip)
            again = writer.finish()
        for shard, expected in zip(again.shards, whole.manifest.shards, strict=True):
            assert (shard.clips, shard.checksum) == (expected.clips, expected.checksum)
        for name, value in whole.manifest.lost_mass.items():
            assert again.lost_mass[name] == pytest.approx(value)
        assert FeatureStore(folder).find("clip19") == 19


def fill(folder):
    with StoreWriter(folder, SIZES, shard_bytes=5_000) as writer:
        for clip in clips_with_lost_mass()[writer.written :]:
            writer.add(clip)
        writer.finish()


def content_of(folder):
    manifest = json.loads((folder / "store.json").read_text())
    for shard in manifest["shards"]:
        del shard["bytes"]  # LMDB's file grows by what is written at once
    return manifest


def interrupted_at(line, action):
    """Raises KeyboardInterrupt at the given line that the writer executes; False: it has fewer."""
    left = [line]

    def trace(frame, event, argument):
        if frame.f_code.co_filename != writer_module.__file__:
            return None
        if event == "line":
            left[0] -= 1
            if left[0] < 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("step", [101, pytest.param(7, marks=pytest.mark.slow)])
def test_ctrl_c_at_any_line_of_the_writer_loses_and_miscounts_nothing(tmp_path, monkeypatch, step):
    monkeypatch.setattr(writer_module, "BATCH_BYTES", 2_000)
    fill(tmp_path / "whole")
    whole = content_of(tmp_path / "whole")
    line = step // 2
    while True:
        folder = tmp_path / f"{line}"
        with contextlib.suppress(DataError):  # finished in the moment of the interrupt
            was_interrupted = interrupted_at(line, lambda folder=folder: fill(folder))
        if not (folder / "store.json").exists():
            fill(folder)
        writer_module.tidy(folder)
        assert content_of(folder) == whole
        assert sorted(p.name for p in folder.iterdir()) == sorted(
            ["store.json", *(shard["file"] for shard in whole["shards"])]
        )
        if not was_interrupted:
            break
        line += step
    assert line > 300


def test_a_store_that_an_earlier_version_left_with_an_empty_shard_is_finished(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(writer_module, "BATCH_BYTES", 2_000)
    with StoreWriter(tmp_path / "s", SIZES, shard_bytes=5_000) as writer:
        for clip in clips_with_lost_mass()[:7]:
            writer.add(clip)
    path = tmp_path / "s" / UNFINISHED
    manifest = json.loads(path.read_text())
    empty = {**manifest["shards"][0], "clips": 0, "captions": 0, "payload": 0, "checksum": 0}
    manifest["shards"].append(empty | {"file": "shard-00007.lmdb"})
    path.write_text(json.dumps(manifest))
    fill(tmp_path / "s")
    assert list(FeatureStore(tmp_path / "s").ids()) == [f"clip{n}" for n in range(20)]


def test_a_store_that_is_replaced_under_its_reader_gives_no_other_clips(tmp_path):
    write(tmp_path / "s", [make_clip(n, name=f"old{n}") for n in range(3)])
    write(tmp_path / "t", [make_clip(n, name=f"new{n}") for n in range(3)])
    store, fresh = FeatureStore(tmp_path / "s"), FeatureStore(tmp_path / "s")
    assert store[1].id == "old1" and store.find("old2") == 2
    os.chmod(tmp_path / "s" / "store.json", 0o600)
    assert store[1].id == "old1"
    shutil.rmtree(tmp_path / "s")
    shutil.copytree(tmp_path / "t", tmp_path / "s")
    for read in (lambda: store[1], lambda: store.find("new2"), lambda: fresh.about(0)):
        with pytest.raises(DataError, match="was replaced or removed"):
            read()
    assert FeatureStore(tmp_path / "s")[1].id == "new1"


def test_a_shard_that_no_manifest_names_is_written_anew(tmp_path):
    first = StoreWriter(tmp_path / "s", SIZES)
    first._save = lambda: None  # killed between the first batch and the manifest
    for number in range(5):
        first.add(make_clip(number, name=f"old{number}"))
    first.close()
    with StoreWriter(tmp_path / "s", SIZES) as writer:
        assert writer.written == 0
        for number in range(3):
            writer.add(make_clip(number, name=f"new{number}"))
        writer.finish()
    store = FeatureStore(tmp_path / "s")
    assert list(store.ids()) == ["new0", "new1", "new2"] and store.find("new2") == 2


def test_a_store_that_another_process_finishes_meanwhile_is_left_alone(tmp_path, monkeypatch):
    lock = StoreWriter._lock_folder

    def finish_first(self):
        with monkeypatch.context() as patch:
            patch.setattr(StoreWriter, "_lock_folder", lock)
            write(tmp_path / "s", [make_clip()])
        return lock(self)

    monkeypatch.setattr(StoreWriter, "_lock_folder", finish_first)
    with pytest.raises(DataError, match="is a finished store"):
        StoreWriter(tmp_path / "s", SIZES)
    assert len(FeatureStore(tmp_path / "s")) == 1


def test_ids_of_any_length_have_short_keys():
    assert len(id_key("x" * 10_000)) == len(id_key("")) == 16
