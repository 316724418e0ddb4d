"""Checkpoints beside the loop, and going on from them."""

from __future__ import annotations

import errno
import logging
import threading

import numpy as np
import paddle
import pytest

from paddlevideo.checkpoint import Checkpoints, Progress
from paddlevideo.tasks.resuming import place_in_epoch
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
    assert "No space left on device" in caplog.text and "training goes on" in caplog.text
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
    with pytest.raises(DataError, match="No space left on device.*Whole ones there: none"):
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
    ("ranks", "batch", "at_once", "window", "batches"),
    [
        (2, 4, 8, 1, 6),  # as it was
        (2, 4, 4, 1, 12),  # one process instead of two
        (2, 4, 16, 1, 3),  # four
        (2, 4, 12, 1, 4),  # three: 48 samples
        (2, 4, 5, 1, 9),  # three samples come again
        (2, 4, 4, 8, 8),  # the beginning of an optimizer step
    ],
)
def test_the_place_in_an_epoch_with_another_number_of_processes(
    ranks, batch, at_once, window, batches
):
    before = {"ranks": ranks, "batch_size": batch}
    progress = Progress(epoch=1, batches=6, step=40)
    found = place_in_epoch(progress, before, at_once, window)
    assert found == Progress(epoch=1, batches=batches, step=40)
