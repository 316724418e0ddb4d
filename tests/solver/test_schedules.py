from __future__ import annotations

import inspect
import math
import typing

import pytest

from paddlevideo.registry import SCHEDULES
from paddlevideo.solver.schedules import Clock, make_schedule
from paddlevideo.utils.errors import ConfigError

STEPS = 4  # per epoch
EPOCHS = 10


def curve(config, steps=STEPS * EPOCHS):
    schedule = make_schedule(config)
    return [schedule(Clock(step, STEPS, STEPS * EPOCHS)) for step in range(steps)]


def test_a_number_is_a_constant():
    assert set(curve(0.25)) == {0.25}
    assert set(curve({"name": "ConstantLR", "base_lr": 0.25})) == {0.25}


@pytest.mark.parametrize("name", ["CustomPiecewiseDecay", "PiecewiseDecay"])
def test_piecewise_counts_steps_or_epochs(name):
    config = {"name": name, "boundaries": [2, 3], "values": [3.0, 2.0, 1.0]}
    assert curve({**config, "iter_step": True}, 5) == [3.0, 3.0, 2.0, 1.0, 1.0]
    assert curve(config, 14) == [3.0] * 8 + [2.0] * 4 + [1.0] * 2


def test_warmup_cosine_by_steps():
    rates = curve(
        {
            "name": "CustomWarmupCosineDecay",
            "iter_step": True,
            "warmup_start_lr": 0.01,
            "warmup_epochs": 2,
            "cosine_base_lr": 0.2,
            "max_epoch": EPOCHS,
        }
    )
    top = 0.1 * (math.cos(math.pi * 0.2) + 1)
    assert rates[0] == 0.01
    assert rates[4] == pytest.approx((0.01 + top) / 2)
    assert rates[8] == pytest.approx(top)
    assert rates[20] == pytest.approx(0.1)
    assert rates[39] == pytest.approx(0.1 * (math.cos(math.pi * 39 / 40) + 1))


def test_warmup_cosine_by_epochs_is_flat_within_an_epoch():
    config = {"warmup_start_lr": 0.0, "warmup_epochs": 0, "cosine_base_lr": 0.2, "max_epoch": 10}
    rates = curve({"name": "CustomWarmupCosineDecay", **config})
    assert rates[20:24] == [rates[20]] * 4
    assert rates[20] == pytest.approx(0.1)
    assert rates[24] < rates[20]


def test_warmup_piecewise():
    rates = curve(
        {
            "name": "CustomWarmupPiecewiseDecay",
            "iter_step": True,
            "warmup_start_lr": 0.1,
            "warmup_epochs": 1,
            "step_base_lr": 2.0,
            "lrs": [1.0, 0.1, 0.01],
            "gamma": 0.1,
            "steps": [0, 3, 5],
            "max_epoch": EPOCHS,
        }
    )
    assert rates[0] == pytest.approx(0.1)
    assert rates[2] == pytest.approx((0.1 + 2.0) / 2)
    assert rates[4:12] == [2.0] * 8
    assert rates[12:20] == pytest.approx([0.2] * 8)
    assert rates[20:] == pytest.approx([0.02] * 20)


def test_warmup_cosine_step():
    rates = curve(
        {
            "name": "CustomWarmupCosineStepDecay",
            "iter_step": True,
            "warmup_iters": 1,
            "warmup_ratio": 0.5,
            "min_lr": 0.1,
            "base_lr": 1.1,
            "max_epoch": EPOCHS,
        }
    )
    assert rates[0] == pytest.approx(0.55)
    assert rates[2] == pytest.approx(1.1 * 0.75)
    first = 0.1 + 0.5 * (math.cos(math.pi * 0.1) + 1)
    assert rates[4:8] == pytest.approx([first] * 4)
    assert rates[20] == pytest.approx(0.6)


def test_warmup_adjust():
    rates = curve(
        {
            "name": "CustomWarmupAdjustDecay",
            "step_base_lr": 0.8,
            "warmup_epochs": 2,
            "lr_decay_rate": 0.5,
            "boundaries": [4, 6],
        }
    )
    by_epoch = rates[::STEPS]
    assert by_epoch == pytest.approx([0.4, 0.8, 0.8, 0.8, 0.4, 0.4, 0.2, 0.2, 0.2, 0.2])


@pytest.mark.parametrize("warmup", [10, 0.25])
@pytest.mark.parametrize(
    ("name", "middle"), [("WarmupLinearDecay", 0.55), ("WarmupCosineDecay", 0.55)]
)
def test_modern_schedules_take_their_length_from_the_run(name, middle, warmup):
    config = {"name": name, "base_lr": 1.0, "warmup_steps": warmup, "final_lr": 0.1}
    rates = curve(config, 60)
    assert rates[0] == pytest.approx(0.1)  # a step of zero would be wasted
    assert rates[9] == rates[10] == pytest.approx(1.0)
    assert rates[25] == pytest.approx(middle)
    assert rates[40:] == pytest.approx([0.1] * 20)


@pytest.mark.parametrize("warmup", [10, 0.25])
@pytest.mark.parametrize("boundaries", [[20, 30], [0.5, 0.75], [0.5, 30]])
def test_warmup_before_pieces_in_steps_or_shares_of_the_run(warmup, boundaries):
    values = [1.0, 0.1, 0.01]
    config = {"name": "WarmupPiecewiseDecay", "boundaries": boundaries, "values": values}
    rates = curve({**config, "warmup_steps": warmup}, 60)
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert rates[10:20] == [1.0] * 10
    assert rates[20:30] == [0.1] * 10
    assert rates[30:] == [0.01] * 30
    assert curve(config, 60)[0] == 1.0, "no warm-up unless asked for"


def test_pieces_that_do_not_ascend_are_named():
    config = {"name": "WarmupPiecewiseDecay", "values": [1.0, 0.1], "warmup_steps": 30}
    with pytest.raises(ConfigError, match="not in ascending order"):
        curve({**config, "boundaries": [20]}, 60)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_every_schedule_has_a_signature_that_can_be_checked(name):
    part = SCHEDULES.get(name)
    hints = typing.get_type_hints(part.__init__)
    parameters = inspect.signature(part).parameters
    assert set(parameters) <= set(hints)
    assert "iter_step" in parameters


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "CustomPiecewiseDecay", "boundaries": [1], "values": [1.0]}, "need 2 values"),
        (
            {"name": "PiecewiseDecay", "boundaries": [2, 1], "values": [1.0] * 3},
            "not in ascending order",
        ),
        ({"name": "WarmupPiecewiseDecay", "boundaries": [1], "values": [1.0]}, "need 2 values"),
        ({"name": "WarmupLinear", "base_lr": 1.0}, 'Did you mean "WarmupLinearDecay"'),
        ({"base_lr": 1.0}, 'needs the key "name"'),
        ({"name": "WarmupCosineDecay", "base_lr": 1.0, "warmup_steps": -1}, "warmup_steps"),
        ("fast", "expected a number"),
    ],
)
def test_faults_are_named(config, message):
    with pytest.raises(ConfigError, match=message):
        make_schedule(config)
