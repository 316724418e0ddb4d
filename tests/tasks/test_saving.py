"""Checkpoints beside the loop, and going on from them."""

from __future__ import annotations

import errno
import logging
import sys
import threading
from dataclasses import replace

import numpy as np
import paddle
import pytest

from paddlevideo.checkpoint import Checkpoint, Checkpoints, Progress
from paddlevideo.solver import Pace
from paddlevideo.tasks.accumulation import Sizes
from paddlevideo.tasks.resuming import initial_progress, position_in_epoch, sizes_before
from paddlevideo.tasks.saving import Saver
from paddlevideo.utils.errors import DataError


def save(saver, step, weight):
    saver.save(Checkpoints.step_tag(step), {"w": weight}, {}, Progress(step=step), {})


def test_saving_waits_for_a_copy_and_not_for_the_disk(tmp_path, monkeypatch):
    checkpoints, may_write = Checkpoints(tmp_path, "M"), threading.Event()
    really_save = checkpoints.save

    def slow(*arguments):
        assert may_write.wait(20)
        return really_save(*arguments)

    monkeypatch.setattr(checkpoints, "save", slow)
    saver, weight = Saver(checkpoints), paddle.ones([3])
    save(saver, 1, weight)  # would wait for 20 s if it waited for the disk
    weight.set_value(paddle.zeros([3]))  # training goes on
    may_write.set()
    saver.close()
    found = checkpoints.newest()
    np.testing.assert_array_equal(found.weights["w"], np.ones(3, "float32"))
    assert found.extra["versions"]["paddle"] == paddle.__version__


def test_a_full_disk_is_reported_and_the_run_goes_on(tmp_path, monkeypatch, caplog):
    checkpoints = Checkpoints(tmp_path, "M")
    really_save, full = checkpoints.save, [True]

    def save_if_there_is_room(*arguments):
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return really_save(*arguments)

    monkeypatch.setattr(checkpoints, "save", save_if_there_is_room)
    monkeypatch.setattr(logging.getLogger("paddlevideo"), "propagate", True)
    saver = Saver(checkpoints)
    for step in (1, 1, 1):
        save(saver, step, paddle.ones([1]))
    assert "No space left on device" in caplog.text and "training continues" in caplog.text
    assert checkpoints.newest() is None
    full[0] = False
    save(saver, 2, paddle.ones([1]))
    saver.close()  # the last one is there: nothing to complain of
    assert checkpoints.newest().progress.step == 2


def test_the_last_checkpoint_must_be_there(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, "M")

    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "save", fail)
    saver = Saver(checkpoints)
    save(saver, 1, paddle.ones([1]))
    with pytest.raises(DataError, match="No space left on device.*Complete ones: none"):
        saver.close()


def test_when_a_checkpoint_is_due(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    saver = Saver(Checkpoints(tmp_path, "M"), steps=5, minutes=2)
    saver.begin(10)
    assert [saver.is_due(step) for step in (11, 14, 15, 16)] == [False, False, True, True]
    now[0] += 119
    assert not saver.is_due(11)
    now[0] += 1
    assert saver.is_due(11)
    never = Saver(Checkpoints(tmp_path, "M"))
    now[0] += 1e9
    assert not never.is_due(10**9)


@pytest.mark.parametrize(
    ("before", "now", "batches"),
    [
        (Sizes(8, 12, 1), Sizes(8, 12, 1), 6),  # as it was
        (Sizes(8, 12, 1), Sizes(4, 24, 1), 12),  # one process instead of two
        (Sizes(8, 12, 1), Sizes(16, 6, 1), 3),  # four
        (Sizes(8, 12, 1), Sizes(12, 8, 1), 4),  # three: 48 samples
        (Sizes(8, 12, 1), Sizes(5, 19, 1), 9),  # three samples come again
        (Sizes(8, 12, 1), Sizes(4, 24, 8), 8),  # the beginning of an optimizer step
        (Sizes(8, 12, 2), Sizes(8, 12, 4), 4),  # another accumulation, the same batches
        (Sizes(8, 6, 1), Sizes(4, 13, 1), 13),  # complete, though four samples were left out
        (Sizes(8, 6, 1), Sizes(16, 2, 1), 2),
        (Sizes(8, 12, 1), Sizes(8, 5, 1), 5),  # of fewer samples than there were
        (Sizes(8, 5, 1), Sizes(8, 5, 1), 5),  # the same, which the checkpoint does not say
    ],
)
def test_the_position_in_an_epoch_with_other_sizes(before, now, batches):
    progress = Progress(epoch=1, batches=6, step=40)
    result = position_in_epoch(progress, before, now)
    assert result == Progress(epoch=1, batches=batches, step=40)


def test_sizes_of_a_run_from_what_its_checkpoint_says():
    now = Sizes(4, 4, 1)
    extra = {"ranks": 2, "batch_size": 3, "config": {"DATASET": {"drop_last": False}}}
    assert sizes_before(extra, 20, now) == Sizes(6, 4, 1)
    assert sizes_before(extra, 19, now) == Sizes(6, 3, 1), "fewer samples than ranks are left out"
    extra["config"] = {"GRADIENT_ACCUMULATION": {"global_batch_size": 12}}
    assert sizes_before(extra, 20, now) == Sizes(6, 3, 2)
    assert sizes_before(extra, 20, now).steps == 2
    assert sizes_before({}, 16, now) == now, "of an old version"


def test_a_checkpoint_of_an_older_version_counts_in_steps_of_its_own_run():
    old = Checkpoint("step_00000003", {}, {}, Progress(batches=3, step=3), {"batch_size": 4})
    assert initial_progress(old, 16, Sizes(2, 8, 1)) == (Progress(batches=6, step=3), Pace(4, 8))
    new = replace(old, extra={"batch_size": 4, "begun_steps_per_epoch": 16})
    assert initial_progress(new, 16, Sizes(2, 8, 1)) == (Progress(batches=6, step=3), Pace(16, 8))


def test_a_checkpoint_is_amended_without_writing_its_weights(tmp_path):
    checkpoints = Checkpoints(tmp_path, "M")
    saver = Saver(checkpoints)
    saver.save("epoch_00001", {"w": paddle.ones([3])}, {}, Progress(epoch=1, pending=True), {})
    saver.amend("epoch_00001", Progress(epoch=1, best=0.5), {"batch_size": 4})
    saver.close()
    loaded = checkpoints.load("epoch_00001")
    assert loaded.progress == Progress(epoch=1, best=0.5) and loaded.extra["batch_size"] == 4
    np.testing.assert_array_equal(loaded.weights["w"], np.ones(3, "float32"))


def test_what_could_not_be_saved_is_not_amended_but_saved_again(tmp_path, monkeypatch):
    checkpoints, tag = Checkpoints(tmp_path, "M"), "epoch_00001"
    checkpoints_module = sys.modules[Checkpoints.__module__]
    really_write, calls = checkpoints_module.write_whole, []

    def write(path, *arguments):
        calls.append(path.suffix)
        if calls == [".pdparams", ".pdopt"]:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return really_write(path, *arguments)

    monkeypatch.setattr(checkpoints_module, "write_whole", write)
    saver = Saver(checkpoints)
    saver.save(tag, {"w": paddle.ones([3])}, {}, Progress(epoch=1, pending=True), {})
    assert not saver.amend(tag, Progress(epoch=1, best=0.5), {})
    assert not list(tmp_path.iterdir())  # the half that was written would only take room
    saver.save(tag, {"w": paddle.ones([3])}, {}, Progress(epoch=1, best=0.5), {})
    assert saver.amend(tag, Progress(epoch=1, best=0.6), {})
    saver.close()
    assert checkpoints.load(tag).progress.best == 0.6
