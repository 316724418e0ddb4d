"""Checkpoints are whole or absent."""

import json

import numpy as np
import paddle
import pytest

from paddlevideo.checkpoint import Checkpoints, Progress
from paddlevideo.files.whole import write_whole
from paddlevideo.utils.errors import WeightsError

pytestmark = pytest.mark.filterwarnings("ignore:The input state dict is empty")


def save(checkpoints, epoch, value=1.0):
    return checkpoints.save(
        Checkpoints.epoch_tag(epoch),
        {"w": paddle.full([3], value)},
        {"optimizer": {"w.moment": np.ones(3, "float32")}, "schedule": {"last_epoch": 4}},
        Progress(epoch=epoch, step=10 * epoch, best=0.5),
        {"ranks": 1},
    )


def test_what_is_saved_comes_back(tmp_path):
    checkpoints = Checkpoints(tmp_path, "M")
    path = save(checkpoints, 1, 2.5)
    assert path == tmp_path / "M_epoch_00001.pdparams"
    assert (tmp_path / "M_epoch_00001.pdopt").is_file()
    found = checkpoints.newest()
    np.testing.assert_array_equal(found.weights["w"], np.full(3, 2.5, "float32"))
    np.testing.assert_array_equal(found.optimizer["optimizer"]["w.moment"], np.ones(3))
    assert found.optimizer["schedule"] == {"last_epoch": 4}
    assert found.progress == Progress(epoch=1, step=10, best=0.5)
    assert json.loads((tmp_path / "M_latest.json").read_text()) == {"latest": "epoch_00001"}


def test_paddle_reads_the_files(tmp_path):
    path = save(Checkpoints(tmp_path, "M"), 1, 2.5)
    assert paddle.load(str(path))["w"].numpy().tolist() == [2.5] * 3


def test_the_last_few_and_the_best_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, "M", keep=2)
    checkpoints.save("best", {}, {}, Progress(), {})
    for epoch in range(1, 5):
        save(checkpoints, epoch)
    assert checkpoints.tags() == ["epoch_00003", "epoch_00004"]
    assert checkpoints.load("best")
    assert not list(tmp_path.glob("*00001*"))


def save_within(checkpoints, step):
    progress = Progress(epoch=step // 10, batches=step % 10, step=step)
    return checkpoints.save(Checkpoints.step_tag(step), {"w": paddle.ones([1])}, {}, progress, {})


def test_checkpoints_within_an_epoch_make_way_for_its_own(tmp_path):
    checkpoints = Checkpoints(tmp_path, "M", keep=2)
    save(checkpoints, 1)
    for step in (12, 14, 16):
        save_within(checkpoints, step)
    assert checkpoints.tags() == ["epoch_00001", "step_00000014", "step_00000016"]
    assert checkpoints.newest().progress == Progress(epoch=1, batches=6, step=16)
    assert json.loads((tmp_path / "M_latest.json").read_text()) == {"latest": "step_00000016"}
    save(checkpoints, 2)
    assert checkpoints.tags() == ["epoch_00001", "epoch_00002"]
    assert not list(tmp_path.glob("*step*"))


@pytest.mark.parametrize("damage", ["cut", "flip", "remove", "manifest", "no manifest"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, damage, caplog):
    checkpoints = Checkpoints(tmp_path, "M")
    save(checkpoints, 1, 1.0)
    path = save(checkpoints, 2, 2.0)
    content = bytearray(path.read_bytes())
    manifest = path.with_suffix(".json")
    if damage == "cut":
        path.write_bytes(content[:-5])
    elif damage == "flip":
        content[-20] ^= 1
        path.write_bytes(content)
    elif damage == "remove":
        path.unlink()
    elif damage == "manifest":
        manifest.write_text(manifest.read_text()[:30])
    else:
        manifest.unlink()
    assert checkpoints.newest().tag == "epoch_00001"
    with pytest.raises(WeightsError):
        checkpoints.load("epoch_00002")


def test_no_checkpoint_is_none_and_an_absent_one_is_named(tmp_path):
    checkpoints = Checkpoints(tmp_path, "M")
    assert checkpoints.newest() is None
    save(checkpoints, 3)
    with pytest.raises(WeightsError, match="Found: epoch_00003"):
        checkpoints.load("epoch_00001")


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(partial):
        partial.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_stop_between_the_files_of_an_overwritten_checkpoint_leaves_none_that_is_mixed(
    tmp_path, monkeypatch
):
    checkpoints = Checkpoints(tmp_path, "M")
    save(checkpoints, 1, 1.0)
    save(checkpoints, 2, 2.0)

    def fail(state, path):
        if ".pdopt" in path:
            raise OSError("disk full")
        paddle.framework.io.save(state, path)

    monkeypatch.setattr("paddlevideo.checkpoint.paddle.save", fail)
    with pytest.raises(OSError):
        save(checkpoints, 2, 3.0)
    assert checkpoints.newest().tag == "epoch_00001"


def save_empty(checkpoints, epoch, step=None):
    tag = Checkpoints.epoch_tag(epoch) if step is None else Checkpoints.step_tag(step)
    progress = Progress(epoch=epoch, step=10 * epoch if step is None else step)
    return checkpoints.save(tag, {}, {}, progress, {})


def latest(checkpoints):
    return json.loads(checkpoints.path("latest", ".json").read_text())["latest"]


def test_what_was_saved_last_stays_after_going_back(tmp_path):
    checkpoints = Checkpoints(tmp_path, "M", keep=1, run="a")
    for epoch in range(1, 6):
        save_empty(checkpoints, epoch)
    for epoch, step in ((2, 15), (2, None), (3, None)):
        path = save_empty(checkpoints, epoch, step)
        assert path.is_file() and checkpoints.newest().tag == latest(checkpoints)
        assert checkpoints.path(latest(checkpoints), ".pdparams") == path
    assert checkpoints.tags() == ["epoch_00003"]


def test_another_runs_are_neither_counted_nor_removed(tmp_path):
    other = Checkpoints(tmp_path, "M", keep=3, run="other")
    for epoch in (7, 8, 9):
        save_empty(other, epoch)
    own = Checkpoints(tmp_path, "M", keep=1, run="own")
    for epoch in (1, 2):
        assert save_empty(own, epoch).is_file()
    assert own.tags() == ["epoch_00002"] and own.newest().tag == "epoch_00002"
    assert other.tags() == ["epoch_00007", "epoch_00008", "epoch_00009"]


def test_a_manifest_that_cannot_be_read_takes_no_room(tmp_path):
    checkpoints = Checkpoints(tmp_path, "M", keep=1, run="a")
    for text in ("{", "[]", "{}", '{"progress": 3, "files": {}}'):
        (tmp_path / "M_epoch_00099.json").write_text(text)
        assert save_empty(checkpoints, 1).is_file()
        assert checkpoints.newest().tag == "epoch_00001"


def test_latest_never_names_a_checkpoint_that_is_being_replaced(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, "M", run="a")
    save_empty(checkpoints, 1)
    save_empty(checkpoints, 2)

    def fail(state, path):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("paddlevideo.checkpoint.paddle.save", fail)
        with pytest.raises(OSError):
            save_empty(checkpoints, 2)
    assert latest(checkpoints) == "epoch_00001" == checkpoints.newest().tag
    with monkeypatch.context() as patch:
        patch.setattr("paddlevideo.checkpoint.paddle.save", fail)
        with pytest.raises(OSError):
            save_empty(checkpoints, 1)
    assert not checkpoints.path("latest", ".json").exists()
