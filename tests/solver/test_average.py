"""The running average of the weights."""

import numpy as np
import paddle
import pytest

from paddlevideo.cli import run as main
from paddlevideo.safe_pickle import load_state
from paddlevideo.solver import average as average_module
from paddlevideo.solver.average import WeightAverage
from paddlevideo.solver.fused import HAS_OPERATORS
from paddlevideo.tasks import validation
from paddlevideo.utils.errors import ConfigError, WeightsError
from tests.tiny_data import make_project


@pytest.fixture(params=[False, HAS_OPERATORS], ids=["one by one", "all at once"])
def fused(request, monkeypatch):
    """All at once, as on a GPU."""
    monkeypatch.setattr(average_module, "fuses_updates", lambda: request.param)


def test_the_average_is_the_formula_and_the_weights_come_back(fused):
    layer = paddle.nn.Linear(2, 2)
    average = WeightAverage(layer, 0.9)
    expected, values = layer.weight.numpy(), []
    for step in range(30):
        layer.weight.set_value(paddle.full([2, 2], float(step)))
        average.update()
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        values.append(step)
    with average.applied():
        np.testing.assert_allclose(layer.weight.numpy(), expected, rtol=1e-5)
    np.testing.assert_array_equal(layer.weight.numpy(), np.full((2, 2), 29.0))
    again = WeightAverage(layer, 0.9)
    again.load(average.state())
    with again.applied():
        np.testing.assert_allclose(layer.weight.numpy(), expected, rtol=1e-5)
    with pytest.raises(WeightsError, match="no averages of these parameters"):
        again.load(None)


def test_a_scalar_parameter_keeps_its_shape(fused):
    """The temperature of a retrieval head is a scalar, which Paddle's lerp_ gives a dimension."""
    layer = paddle.nn.Layer()
    one = paddle.nn.initializer.Constant(1.0)
    layer.scale = layer.create_parameter([], default_initializer=one)
    average = WeightAverage(layer, 0.5)
    layer.scale.set_value(paddle.to_tensor(3.0))
    average.update()
    with average.applied():
        assert layer.scale.shape == []
        assert 1.0 < float(layer.scale) < 3.0
    assert float(layer.scale) == 3.0
    assert average.state()["weights"]["scale"].shape == ()


def test_without_a_decay_nothing_is_kept():
    layer = paddle.nn.Linear(2, 2)
    before = layer.weight.numpy()
    average = WeightAverage(layer)
    average.update()
    with average.applied():
        np.testing.assert_array_equal(layer.weight.numpy(), before)
    assert average.state() == {}
    average.load(None)


def test_a_decay_of_1_would_never_learn():
    with pytest.raises(ConfigError, match="ema_decay is 1.0"):
        WeightAverage(paddle.nn.Linear(2, 2), 1.0)


def run(folder, output, *changes):
    arguments = ["-c", str(folder / "tiny.yaml"), "--validate", "-o", f"output_dir={output}"]
    return main.main([*arguments, *changes])


def test_a_run_with_an_average_validates_it_and_resumes_exactly(tmp_path):
    make_project(tmp_path)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert run(tmp_path, whole, "ema_decay=0.9") == 0
    assert run(tmp_path, stopped, "ema_decay=0.9", "max_iters=3") == 0
    assert run(tmp_path, stopped, "ema_decay=0.9", "resume=auto") == 0
    for name in ("epoch_00002", "average"):
        first, second = (load_state(f / f"Tiny_{name}.pdparams") for f in (whole, stopped))
        for key in first:
            np.testing.assert_array_equal(first[key], second[key], key)
    plain = load_state(whole / "Tiny_epoch_00002.pdparams")
    average = load_state(whole / "Tiny_average.pdparams")
    assert any((plain[key] != average[key]).any() for key in plain)
    assert run(tmp_path, tmp_path / "without") == 0
    without = load_state(tmp_path / "without" / "Tiny_epoch_00002.pdparams")
    for key in plain:  # the average does not change the training
        np.testing.assert_array_equal(plain[key], without[key], key)


def test_steps_of_half_the_samples_reach_back_as_far():
    layer = paddle.nn.Linear(1, 1)
    whole, halves = WeightAverage(layer, 0.9), WeightAverage(layer, 0.9)
    for average in (whole, halves):
        average.updates = 1000.0
    layer.weight.set_value(paddle.full([1, 1], 5.0))
    for _ in range(4):
        whole.update()
        halves.update(0.5)
        halves.update(0.5)
    assert whole.updates == halves.updates == 1004
    first, second = (average.state()["weights"]["weight"] for average in (whole, halves))
    np.testing.assert_allclose(first, second, rtol=1e-6)


def test_patience_ends_a_run_that_gets_no_better(tmp_path, monkeypatch, capsys):
    make_project(tmp_path)
    scores = iter([0.5, 0.4, 0.45, 0.6, 0.1, 0.1, 0.1])
    monkeypatch.setattr(validation, "lookup", lambda results, key: next(scores))
    assert run(tmp_path, tmp_path / "out", "patience=2", "epochs=9") == 0
    assert "no improvement for 2 validations" in capsys.readouterr().out
    saved = {path.stem for path in (tmp_path / "out").glob("Tiny_epoch_*.pdparams")}
    assert max(saved) == "Tiny_epoch_00003"
    assert run(tmp_path, tmp_path / "out", "patience=2", "epochs=9", "resume=auto") == 0
    assert not (tmp_path / "out" / "Tiny_epoch_00004.pdparams").exists()
