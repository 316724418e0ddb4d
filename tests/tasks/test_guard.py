"""NaN and infinity: the term, the clips and the parameters are named; nothing is lost."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from paddlevideo.checkpoint import Checkpoints
from paddlevideo.cli import run as main
from paddlevideo.modeling.framework.actbert import ActBert
from paddlevideo.safe_pickle import load_state
from paddlevideo.solver.updater import Updater
from tests.tiny_data import make_project


@pytest.fixture
def arguments(tmp_path):
    make_project(tmp_path)
    return ["-c", str(tmp_path / "tiny.yaml"), "-o", "epochs=1", f"output_dir={tmp_path / 'out'}"]


def break_at(monkeypatch, calls, value):
    """Multiplies the match loss by ``value`` at these calls of the model."""
    really, count = ActBert.forward, [0]

    def forward(self, *arguments):
        losses = really(self, *arguments)
        count[0] += 1
        if count[0] in calls:
            for name in ("match_loss", "loss"):
                losses[name] = losses[name] * value
        return losses

    monkeypatch.setattr(ActBert, "forward", forward)


@pytest.mark.parametrize(("value", "text"), [(float("nan"), "nan"), (float("inf"), "inf")])
def test_a_loss_that_is_not_finite_stops_the_run_with_what_is_known(
    arguments, tmp_path, monkeypatch, capsys, value, text
):
    with monkeypatch.context() as patch:
        break_at(patch, [3], value)
        assert main.main(arguments) == 1
    message = capsys.readouterr().err
    assert f"step 3: match_loss is {text}, gradients of " in message
    assert (
        message.count("clip0") == 4 and "has not changed the weights" in message
    )  # a batch of four
    saved = load_state(tmp_path / "out" / "Tiny_step_00000002.pdparams")
    assert all(np.isfinite(array).all() for array in saved.values())
    # The fault gone, the run goes on as if nothing had happened.
    assert main.main([*arguments, "resume=auto"]) == 0
    whole = [*arguments, f"output_dir={tmp_path / 'whole'}"]
    assert main.main(whole) == 0
    ends = [load_state(tmp_path / d / "Tiny_epoch_00001.pdparams") for d in ("out", "whole")]
    for name in ends[0]:
        np.testing.assert_array_equal(ends[0][name], ends[1][name], name)


def test_steps_may_be_skipped_up_to_a_number_in_a_row(arguments, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        break_at(patch, [1, 3], float("nan"))
        assert main.main([*arguments, "max_skipped_steps=1"]) == 0
    assert capsys.readouterr().out.count("skipped (1 in a row)") == 2
    with monkeypatch.context() as patch:
        break_at(patch, [2, 3], float("nan"))
        assert main.main([*arguments, "max_skipped_steps=1", f"output_dir={tmp_path / 'b'}"]) == 1


def test_the_norm_is_that_of_all_gradients():
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype("float32") for shape in ((3,), (4, 5), (2, 3, 4))]
    parameters = [SimpleNamespace(grad=paddle.to_tensor(array)) for array in arrays]
    parameters.append(SimpleNamespace(grad=None))
    scaler = SimpleNamespace(value=4.0)
    norm = Updater(None, None, scaler).gradient_norm(parameters)
    expected = np.sqrt(sum((array**2).sum() for array in arrays)) / 4
    assert norm == pytest.approx(expected, rel=1e-5)


def test_weights_that_became_nan_are_not_saved(arguments, tmp_path, monkeypatch, capsys):
    really, count = Updater.step, [0]

    def step(self):
        really(self)
        count[0] += 1
        if count[0] == 3:
            parameter = self.optimizer._parameter_list[0]
            parameter.set_value(paddle.full_like(parameter, float("inf")))

    few = [*arguments, "epochs=3", "max_iters=3", "save_steps=1"]
    monkeypatch.setattr(Updater, "step", step)
    assert main.main(few) == 1
    message = capsys.readouterr().err
    assert "after step 3 backbone." in message and "contains NaN or infinity" in message
    assert not (tmp_path / "out" / "Tiny_step_00000003.json").exists()
    for path in (tmp_path / "out").glob("*.pdparams"):
        assert all(np.isfinite(array).all() for array in load_state(path).values())
    monkeypatch.setattr(Updater, "step", really)
    assert main.main([*few, "resume=auto"]) == 0


def test_a_checkpoint_with_nan_is_not_resumed(arguments, tmp_path, capsys):
    assert main.main(arguments) == 0
    checkpoints = Checkpoints(tmp_path / "out", "Tiny")
    saved = checkpoints.newest()
    name = "backbone.bert.encoder.layer.0.attention.self.query.weight"
    saved.weights[name][0, 0] = np.nan
    checkpoints.save(saved.tag, saved.weights, saved.optimizer, saved.progress, saved.extra)
    capsys.readouterr()
    again = [*arguments, "epochs=2", "resume=auto", "force=True"]
    assert main.main(again) == 1
    assert "query.weight holds NaN" in capsys.readouterr().err
    saved.weights[name][0, 0] = 0
    moment = next(key for key in saved.optimizer["optimizer"] if key.endswith("moment1"))
    saved.optimizer["optimizer"][moment].flat[0] = np.inf
    checkpoints.save(saved.tag, saved.weights, saved.optimizer, saved.progress, saved.extra)
    assert main.main(again) == 1
    assert f"{moment} holds infinity" in capsys.readouterr().err
