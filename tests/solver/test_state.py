from __future__ import annotations

import pickle

import numpy as np
import paddle
import pytest

from paddlevideo.solver import (
    build_optimizer,
    build_schedule,
    load_state_by_structured_name,
    state_by_structured_name,
)
from paddlevideo.solver.state import _create_arrays
from paddlevideo.utils.errors import WeightsError

RATES = {"name": "WarmupLinearDecay", "base_lr": 0.05, "warmup_steps": 2}


class Net(paddle.nn.Layer):
    """``extra`` layers built first shift Paddle's automatic names."""

    def __init__(self, extra: int = 0):
        super().__init__()
        self.shift = [paddle.nn.Linear(2, 2) for _ in range(extra)]
        self.first = paddle.nn.Linear(3, 4)
        self.unused = paddle.nn.Linear(2, 2)  # never gets a gradient
        self.last = paddle.nn.Linear(4, 2)

    def forward(self, x):
        return self.last(paddle.nn.functional.relu(self.first(x)))


def run(name, net, **settings):
    config = {"name": name, "learning_rate": RATES, "weight_decay": 0.01, **settings}
    schedule = build_schedule(RATES, steps_per_epoch=4, total_steps=20)
    return build_optimizer(config, schedule, net), schedule


def train(net, optimizer, schedule, steps):
    for step in steps:
        x = paddle.to_tensor(np.random.default_rng(step).normal(size=(5, 3)).astype("float32"))
        (net(x) ** 2).mean().backward()
        optimizer.step()
        optimizer.clear_grad()
        schedule.step()


def values(net):
    return {name: array.numpy().copy() for name, array in net.state_dict().items()}


OPTIMIZERS_WITH_STATE = ["Adam", "AdamW", "Momentum", "RMSProp", "Lamb", "Adamax"]


@pytest.mark.parametrize("name", [*OPTIMIZERS_WITH_STATE, "SGD"])
def test_a_model_built_anew_continues_bit_for_bit(name):
    net = Net()
    optimizer, schedule = run(name, net)
    train(net, optimizer, schedule, range(3))
    saved = pickle.loads(pickle.dumps(state_by_structured_name(optimizer, net)))
    weights = values(net)
    train(net, optimizer, schedule, range(3, 6))

    again = Net(extra=3)
    assert again.first.weight.name != net.first.weight.name
    again.set_state_dict(weights)
    optimizer, schedule = run(name, again)
    load_state_by_structured_name(optimizer, again, saved)
    assert schedule.last_epoch == 3
    train(again, optimizer, schedule, range(3, 6))
    for key, value in values(net).items():
        np.testing.assert_array_equal(values(again)[key], value, err_msg=key)


@pytest.mark.parametrize("name", ["Adam", "Momentum"])
def test_the_same_model_goes_back_with_a_second_optimizer_and_with_the_first(name):
    net = Net()
    optimizer, schedule = run(name, net)
    train(net, optimizer, schedule, range(2))
    saved, weights = state_by_structured_name(optimizer, net), values(net)
    train(net, optimizer, schedule, range(2, 4))
    expected = values(net)
    for chosen in ((optimizer, schedule), run(name, net)):
        net.set_state_dict(weights)
        load_state_by_structured_name(chosen[0], net, saved)
        train(net, *chosen, range(2, 4))
        np.testing.assert_array_equal(values(net)["first.weight"], expected["first.weight"])


def test_keys_are_structured_names():
    net = Net()
    optimizer, schedule = run("Adam", net)
    assert set(state_by_structured_name(optimizer, net)) == {"LR_Scheduler"}
    train(net, optimizer, schedule, range(1))
    state = state_by_structured_name(optimizer, list(net.named_parameters()))
    assert state.pop("LR_Scheduler") == {"step": 1}
    layers = ("first.weight", "first.bias", "last.weight", "last.bias")
    assert {key.split("/")[0] for key in state} == set(layers)
    assert state["first.weight/moment1"].shape == (3, 4)


def test_a_state_from_before_the_first_step_is_loaded_too():
    net = Net()
    optimizer, schedule = run("Adam", net)
    saved = state_by_structured_name(optimizer, net)
    load_state_by_structured_name(optimizer, net, saved)
    train(net, optimizer, schedule, range(1))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_master_weights_travel_along(dtype):
    """A CPU has no step in half precision, so the arrays are made and filled by hand."""
    config = {"name": "AdamW", "learning_rate": 0.05}

    def half(extra):
        net = Net(extra)
        net.to(dtype=dtype)
        return net, build_optimizer(config, 0.05, net, multi_precision=True)

    net, optimizer = half(extra=0)
    _create_arrays(optimizer, net.last.parameters())
    fill = np.random.default_rng(0)
    for arrays in (optimizer._master_weights, *optimizer._accumulators.values()):
        for array in arrays.values():
            array.set_value(fill.normal(size=array.shape).astype("float32"))
    saved = state_by_structured_name(optimizer, net)
    assert saved["last.weight/master_weight"].dtype == np.float32
    assert {key.split("/")[0] for key in saved} == {"last.weight", "last.bias"}

    again, chosen = half(extra=1)
    load_state_by_structured_name(chosen, again, saved)
    loaded = state_by_structured_name(chosen, again)
    assert loaded.keys() == saved.keys()
    for key, value in loaded.items():
        np.testing.assert_array_equal(value, saved[key], err_msg=key)


def test_what_does_not_fit_is_named_and_nothing_changes():
    net = Net()
    optimizer, schedule = run("Adam", net)
    train(net, optimizer, schedule, range(2))
    state = state_by_structured_name(optimizer, net)
    moment = next(key for key in state if key.startswith("first.weight/moment1"))
    wrong = {**state, moment: np.zeros((9, 9), np.float32), "gone.weight/moment1": np.zeros(1)}
    del wrong[next(key for key in state if key.startswith("last.bias/moment2"))]
    with pytest.raises(WeightsError) as error:
        load_state_by_structured_name(optimizer, net, wrong)
    message = str(error.value)
    for part in (moment, "(9, 9) saved", "(3, 4) expected", "gone.weight/moment1", "missing"):
        assert part in message
    kept = state_by_structured_name(optimizer, net)
    assert all(np.array_equal(kept[key], state[key]) for key in state if key != "LR_Scheduler")


def test_a_wrapped_optimizer_is_unwrapped():
    class Wrapper:
        def __init__(self, inner):
            self._inner_opt = inner

    net = Net()
    optimizer, schedule = run("Momentum", net)
    train(net, optimizer, schedule, range(1))
    plain = state_by_structured_name(optimizer, net)
    assert plain.keys() == state_by_structured_name(Wrapper(optimizer), net).keys()
