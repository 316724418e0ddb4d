"""The stores of ``tools/benchmark.py gallery``, and how it measures a process."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from benchmarks import command, gallery
from benchmarks.gallery_store import make_store, write_captions
from paddlevideo.loader.store import FeatureStore
from paddlevideo.utils.errors import DataError, UserError
from tests.loader.clips import assert_same, make_clip, write


@pytest.fixture
def source(tmp_path):
    clips = [make_clip(number, captions=[f"caption {number}"], times=[]) for number in range(4)]
    return write(tmp_path / "source.store", [*clips, make_clip(9, captions=[], times=[])]).path


def clips_in(path):
    store = FeatureStore(path)
    return [store.read(index) for index in range(len(store))]


def test_a_store_has_the_real_clips_and_others_that_a_seed_draws(source, tmp_path):
    made = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_store(source, tmp_path / name, 40, 0.5, seed)
        made.append(clips_in(tmp_path / name))
    for real, clip in zip(clips_in(source), made[0], strict=False):
        assert_same(real, clip)
    assert len({clip.id for clip in made[0]}) == 40
    same, other = ([clip.regions for clip in clips[5:]] for clips in made[1:])
    drawn = [clip.regions for clip in made[0][5:]]
    assert all(np.array_equal(one, two) for one, two in zip(drawn, same, strict=True))
    assert not any(np.array_equal(one, two) for one, two in zip(drawn, other, strict=True))
    assert not any(clip.captions for clip in made[0][5:])
    assert len({clip.id.split("~")[0] for clip in made[0][5:]}) > 2, "of several clips"
    write_captions(tmp_path / "a", tmp_path / "captions.csv", 3)
    lines = (tmp_path / "captions.csv").read_text().splitlines()
    assert lines == ["clip0,caption 0", "clip1,caption 1", "clip2,caption 2"]


def test_noise_is_that_of_the_features(source, tmp_path):
    make_store(source, tmp_path / "a", 2000, 0.1, 0)
    clips = clips_in(tmp_path / "a")
    real = {clip.id: clip for clip in clips[:5]}
    spread = np.concatenate([clip.regions for clip in real.values()]).std(axis=0)
    moved = [clip.regions - real[clip.id.split("~")[0]].regions for clip in clips[5:]]
    np.testing.assert_allclose(np.concatenate(moved).std(axis=0), 0.1 * spread, rtol=0.05)


def test_a_store_that_is_there_is_not_written_again(source, tmp_path):
    make_store(source, tmp_path / "a", 10, 0.5, 0)
    before = (tmp_path / "a" / "store.json").stat().st_mtime_ns
    make_store(source, tmp_path / "a", 10, 0.5, 0)
    assert (tmp_path / "a" / "store.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="a: is another store. Remove it"):
        make_store(source, tmp_path / "a", 11, 0.5, 0)
    with pytest.raises(UserError, match="--clips 3: .*source.store alone has 5"):
        make_store(source, tmp_path / "b", 3, 0.5, 0)


def test_captions_are_needed(tmp_path):
    store = write(tmp_path / "silent.store", [make_clip(0, captions=[], times=[])])
    with pytest.raises(DataError, match="its clips have no captions"):
        write_captions(store.path, tmp_path / "captions.csv", 3)


def test_weights_are_needed_to_measure(source, capsys):
    assert command.main(["gallery", "--from", str(source), "--clips", "10"]) == 2
    assert "name weights with -w" in capsys.readouterr().err


def test_only_made(source, tmp_path, capsys):
    words = ["gallery", "--make", "--from", str(source), "--folder", str(tmp_path / "made")]
    assert command.main([*words, "--clips", "10", "20"]) == 0
    assert [len(clips_in(tmp_path / "made" / n / "clips.store")) for n in ("10", "20")] == [10, 20]
    assert "store, GB" in capsys.readouterr().out


def test_the_peak_of_a_process_counts_its_own_memory(monkeypatch):
    statement = "import time; block = bytearray(200 << 20); time.sleep(0.5)"
    monkeypatch.setattr(gallery, "this_python", lambda _: [sys.executable, "-c", statement])
    measured = gallery.measured([])
    assert 0.2 < measured["peak_gb"] < 0.3 and 0.5 < measured["seconds"] < 30


def test_the_end_of_a_failed_command_is_told(monkeypatch):
    statement = "import sys; print('no such clip', file=sys.stderr); sys.exit(3)"
    monkeypatch.setattr(gallery, "this_python", lambda _: [sys.executable, "-c", statement])
    with pytest.raises(UserError, match="test -w x failed: no such clip"):
        gallery.measured(["test", "-w", "x"])
