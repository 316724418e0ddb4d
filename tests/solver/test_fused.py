"""Updates of many parameters by one operator give the numbers of Paddle's own updates."""

import numpy as np
import paddle
import pytest

from paddlevideo.runtime.precision import LossScaler
from paddlevideo.solver import (
    build_optimizer,
    load_state_by_structured_name,
    state_by_structured_name,
)
from paddlevideo.solver import fused as fused_module
from paddlevideo.solver import optimizer as optimizer_module
from paddlevideo.solver.fused import FusedUpdates, squared_norm
from paddlevideo.solver.updater import Updater

pytestmark = pytest.mark.skipif(
    not fused_module.HAS_OPERATORS, reason="Paddle 2 has other operators"
)

SETTINGS = {
    "L2": {"name": "Adam", "weight_decay": 0.1},
    "L1": {"name": "Adam", "weight_decay": {"name": "L1", "value": 0.1}},
    "decoupled": {"name": "AdamW", "weight_decay": 0.1},
    "lazy": {"name": "AdamW", "lazy_mode": True},
    "momentum": {"name": "Momentum", "weight_decay": 0.1},
}
RULES = {
    "learning_rate": 0.01,
    "no_weight_decay_name": "bias",
    "lr_scale": [{"match": "late", "scale": 0.5}],
    "grad_clip": {"name": "global", "value": 2.0},
}


class Net(paddle.nn.Layer):
    """``late`` has no gradient in the first steps."""

    def __init__(self):
        super().__init__()
        self.first, self.late = paddle.nn.Linear(5, 7), paddle.nn.Linear(7, 3)

    def forward(self, x, both):
        hidden = paddle.tanh(self.first(x))
        return (self.late(hidden) if both else hidden).square().sum()


@pytest.fixture
def on_gpu(monkeypatch):
    """Sets whether updates are fused, as they are on a GPU."""
    return lambda fuse: [
        monkeypatch.setattr(module, "fuses_updates", lambda: fuse)
        for module in (fused_module, optimizer_module)
    ]


class Run:
    """A model, its optimizer and the steps taken with it."""

    def __init__(self, settings):
        paddle.seed(1)
        self.net = Net()
        self.optimizer = build_optimizer({**settings, **RULES}, 0.01, self.net)
        schedule = type("Schedule", (), {"step": lambda self: None})()
        self.updater = Updater(self.optimizer, schedule, LossScaler(False, 1.0))

    def steps(self, *both):
        inputs = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
        for each in both:
            self.updater.backward(self.net(paddle.to_tensor(inputs), each))
            self.updater.step()

    def numbers(self):
        weights = {name: x.numpy() for name, x in self.net.state_dict().items()}
        return weights | state_by_structured_name(self.optimizer, self.net)


@pytest.mark.parametrize("name", SETTINGS)
def test_weights_and_state_are_those_of_paddles_updates(on_gpu, name):
    ends = []
    for fuse in (False, True):
        on_gpu(fuse)
        run = Run(SETTINGS[name])
        run.steps(False, False, True, True)
        ends.append(run.numbers())
        fused = getattr(run.optimizer, "fused_updates", None)
        assert isinstance(fused, FusedUpdates) == (fuse and name not in {"lazy", "momentum"})
    assert ends[0].keys() == ends[1].keys()
    for key, expected in ends[0].items():
        np.testing.assert_allclose(ends[1][key], expected, rtol=2e-6, atol=1e-8, err_msg=key)


def test_a_loaded_state_continues_with_its_own_numbers_of_steps(on_gpu):
    on_gpu(True)
    whole, part = Run(SETTINGS["decoupled"]), Run(SETTINGS["decoupled"])
    whole.steps(False, True)
    weights, saved = whole.net.state_dict(), whole.numbers()
    part.steps(True)  # here all parameters have taken the same number of steps
    part.net.set_state_dict({name: x.clone() for name, x in weights.items()})
    state = {key: saved[key] for key in saved if key not in weights}
    load_state_by_structured_name(part.optimizer, part.net, state)
    assert not part.optimizer.fused_updates._grouped
    for run in (whole, part):
        run.steps(True)
    for key, expected in whole.numbers().items():
        np.testing.assert_array_equal(part.numbers()[key], expected, key)


def test_a_step_is_one_operator_for_each_group(on_gpu):
    on_gpu(True)
    run = Run(SETTINGS["decoupled"])
    run.steps(True)
    groups = run.optimizer.fused_updates._groups
    assert sorted(len(group.parameters) for group in groups) == [1, 1, 1, 1]  # rate and decay
    run = Run({"name": "Adam"})
    run.steps(True)
    assert [len(group.parameters) for group in run.optimizer.fused_updates._groups] == [2, 2]


def test_the_norm_of_all_at_once_is_that_of_one_after_the_other(on_gpu):
    rng = np.random.default_rng(0)
    gradients = [paddle.to_tensor(rng.normal(size=n).astype("float32")) for n in (3, 257, 64)]
    norms = []
    for fuse in (False, True):
        on_gpu(fuse)
        norms.append(squared_norm(gradients).item())
    assert norms[1] == pytest.approx(norms[0], rel=1e-6)
