"""A gradient that is not finite, while the loss is, changes no weight."""

from __future__ import annotations

import numpy as np
import pytest

from paddlevideo.cli import run as main
from paddlevideo.safe_pickle import load_state
from paddlevideo.solver.updater import Updater
from tests.tiny_data import make_project


@pytest.fixture
def arguments(tmp_path):
    make_project(tmp_path)
    return ["-c", str(tmp_path / "tiny.yaml"), "-o", "epochs=1"]


def break_gradient(monkeypatch, step):
    """Makes one gradient NaN after the backward pass of this step."""
    backward, count = Updater.backward, [0]

    def broken(self, loss):
        backward(self, loss)
        count[0] += 1
        if count[0] == step:
            parameters = self.optimizer._parameter_list
            gradient = next(p.grad for p in parameters if p.grad is not None)
            gradient.set_value(gradient * float("nan"))

    monkeypatch.setattr(Updater, "backward", broken)


def weights(folder, tag):
    return load_state(folder / f"Tiny_{tag}.pdparams")


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], name)


def test_the_run_stops_with_the_weights_before_the_step(arguments, tmp_path, monkeypatch, capsys):
    assert main.main([*arguments, "max_iters=2", f"output_dir={tmp_path / 'two'}"]) == 0
    with monkeypatch.context() as patch:
        break_gradient(patch, 3)
        assert main.main([*arguments, f"output_dir={tmp_path / 'out'}"]) == 1
    message = capsys.readouterr().err
    assert "step 3: gradients of " in message and "_loss is" not in message
    saved = weights(tmp_path / "out", "step_00000002")
    assert_equal(saved, weights(tmp_path / "two", "epoch_00001"))


def test_a_skipped_step_leaves_all_weights(arguments, tmp_path, monkeypatch):
    assert main.main([*arguments, "max_iters=2", f"output_dir={tmp_path / 'two'}"]) == 0
    skipping = ["max_skipped_steps=1", "max_iters=3", f"output_dir={tmp_path / 'out'}"]
    with monkeypatch.context() as patch:
        break_gradient(patch, 3)
        assert main.main([*arguments, *skipping]) == 0
    ended = weights(tmp_path / "out", "epoch_00001")
    assert_equal(ended, weights(tmp_path / "two", "epoch_00001"))
