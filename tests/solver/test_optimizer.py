from __future__ import annotations

import inspect
import logging
import typing

import numpy as np
import paddle
import pytest

from paddlevideo.registry import OPTIMIZERS
from paddlevideo.solver import build_optimizer, build_schedule, named_parameters
from paddlevideo.utils.errors import ConfigError


class Net(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.first = paddle.nn.Linear(3, 4)
        self.LayerNorm = paddle.nn.LayerNorm(4)
        self.unused = paddle.nn.Linear(2, 2)
        self.last = paddle.nn.Linear(4, 2)

    def forward(self, x):
        return self.last(self.LayerNorm(self.first(x)))


def model():
    paddle.seed(3)
    return Net()


def weights(net):
    return {name: array.numpy().copy() for name, array in net.named_parameters()}


def still_step(net, optimizer):
    """A step with gradients of zero: what moves is weight decay alone."""
    (net(paddle.zeros([2, 3])) * 0.0).sum().backward()
    optimizer.step()
    optimizer.clear_grad()


def moved(net, config):
    before = weights(net)
    still_step(net, build_optimizer(config, config["learning_rate"], net))
    return {name: weights(net)[name] - before[name] for name in before}


@pytest.mark.parametrize("name", ["SGD", "Momentum"])
def test_l2_adds_its_penalty_to_the_gradient_except_where_told(name):
    net = model()
    before = weights(net)
    config = {
        "name": name,
        "learning_rate": 0.5,
        "weight_decay": {"name": "L2", "value": 0.1},
        "no_weight_decay_name": "bias LayerNorm",
    }
    delta = moved(net, config)
    np.testing.assert_allclose(delta["first.weight"], -0.05 * before["first.weight"], rtol=1e-5)
    for kept in ("LayerNorm.weight", "LayerNorm.bias", "first.bias", "unused.weight"):
        assert not delta[kept].any(), kept


@pytest.mark.parametrize("name", ["Adam", "Adamax", "RMSProp"])
@pytest.mark.parametrize("kind", ["L1", "L2"])
def test_adaptive_optimizers_honour_the_exemptions_too(name, kind):
    config = {
        "name": name,
        "learning_rate": 0.01,
        "weight_decay": {"name": kind, "value": 0.1},
        "no_weight_decay_name": "LayerNorm",
    }
    delta = moved(model(), config)
    assert not delta["LayerNorm.weight"].any()
    assert np.abs(delta["first.weight"]).max() > 1e-3


def test_l1_pulls_by_the_sign():
    net = model()
    before = weights(net)
    config = {
        "name": "SGD",
        "learning_rate": 0.5,
        "weight_decay": {"name": "L1", "value": 0.1},
    }
    expected = -0.05 * np.sign(before["last.weight"])
    np.testing.assert_allclose(moved(net, config)["last.weight"], expected, rtol=1e-4)


@pytest.mark.parametrize("decay", [0.1, {"name": "Decoupled", "value": 0.1}])
def test_adamw_decays_beside_the_gradient(decay):
    net = model()
    before = weights(net)
    config = {
        "name": "AdamW",
        "learning_rate": 0.5,
        "weight_decay": decay,
        "no_weight_decay_name": "bias LayerNorm",
        "lr_scale": [{"match": "^last", "scale": 0.5}],
    }
    delta = moved(net, config)
    np.testing.assert_allclose(delta["first.weight"], -0.05 * before["first.weight"], rtol=1e-4)
    np.testing.assert_allclose(delta["last.weight"], -0.025 * before["last.weight"], rtol=1e-4)
    assert not delta["LayerNorm.weight"].any()


def test_lamb_exempts_by_structured_name():
    config = {"name": "Lamb", "learning_rate": 0.5, "no_weight_decay_name": "LayerNorm"}
    delta = moved(model(), config)
    assert not delta["LayerNorm.weight"].any()
    assert delta["first.weight"].any()


def test_a_second_optimizer_does_not_inherit_decay_and_scale():
    net = model()
    config = {"name": "SGD", "learning_rate": 0.5}
    build_optimizer(
        {**config, "weight_decay": 0.1, "lr_scale": [{"match": ".", "scale": 3}]}, 0.5, net
    )
    assert not any(delta.any() for delta in moved(net, config).values())
    assert all(p.optimize_attr["learning_rate"] == 1.0 for p in net.parameters())


def gradient_step(config):
    """First step of SGD at rate 1, so that the movement is the gradient that was used."""
    net = model()
    before = weights(net)
    optimizer = build_optimizer({"name": "SGD", "learning_rate": 1.0, **config}, 1.0, net)
    (100 * net(paddle.ones([2, 3])) ** 2).sum().backward()
    optimizer.step()
    return {name: before[name] - array for name, array in weights(net).items()}


@pytest.mark.parametrize("name", ["ClipGradByGlobalNorm", "global"])
def test_global_clipping_spans_scaled_and_exempt_parameters(name):
    clip = {"name": name, "value": 0.5}
    moves = gradient_step(
        {"grad_clip": clip, "lr_scale": [{"match": "first", "scale": 1.0}], "weight_decay": 0.0}
    )
    total = np.sqrt(sum((move.astype(np.float64) ** 2).sum() for move in moves.values()))
    assert total == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("name", ["ClipGradByNorm", "norm"])
def test_clipping_by_norm_is_per_parameter(name):
    moves = gradient_step({"grad_clip": {"name": name, "value": 0.5}})
    assert np.linalg.norm(moves["last.weight"]) == pytest.approx(0.5, rel=1e-3)
    assert np.linalg.norm(moves["last.bias"]) == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("name", ["ClipGradByValue", "value"])
def test_clipping_by_value(name):
    moves = gradient_step({"grad_clip": {"name": name, "value": 0.25}})
    assert np.abs(moves["last.weight"]).max() == pytest.approx(0.25, rel=1e-3)


def test_layer_wise_rates_take_the_first_rule_that_matches():
    rules = [{"match": r"first\.weight", "scale": 0.5}, {"match": "first", "scale": 0.0}]
    plain, scaled = gradient_step({}), gradient_step({"lr_scale": rules})
    np.testing.assert_allclose(scaled["first.weight"], 0.5 * plain["first.weight"], rtol=1e-3)
    assert not scaled["first.bias"].any()
    np.testing.assert_array_equal(scaled["last.weight"], plain["last.weight"])


def test_frozen_and_shared_parameters():
    net = model()
    for parameter in net.first.parameters():
        parameter.stop_gradient = True
    optimizer = build_optimizer({"name": "Adam", "learning_rate": 0.1}, 0.1, net)
    held = {parameter.name for parameter in optimizer._parameter_list}
    assert held.isdisjoint(parameter.name for parameter in net.first.parameters())
    shared = net.last.weight
    assert named_parameters([("a", shared), ("b", shared)]) == [("a", shared)]
    for parameter in net.parameters():
        parameter.stop_gradient = True
    with pytest.raises(ConfigError, match="no trainable parameters"):
        build_optimizer({"name": "Adam", "learning_rate": 0.1}, 0.1, net)


def test_a_parallel_model_keeps_its_names():
    net = model()
    wrapped = named_parameters(paddle.DataParallel(net))
    assert [name for name, _ in wrapped] == [name for name, _ in net.named_parameters()]


def test_the_schedule_drives_the_optimizer_and_its_state_is_the_step():
    rates = {"name": "CustomPiecewiseDecay", "boundaries": [1, 2], "values": [3.0, 2.0, 1.0]}
    rates["iter_step"] = True
    schedule = build_schedule(rates, steps_per_epoch=2, total_steps=4)
    optimizer = build_optimizer({"name": "SGD", "learning_rate": rates}, schedule, model())
    seen = []
    for _ in range(3):
        seen.append(optimizer.get_lr())
        schedule.step()
    assert seen == [3.0, 2.0, 1.0]
    assert schedule.state_dict() == {"step": 3}
    schedule.set_state_dict({"step": 1})
    assert (optimizer.get_lr(), schedule.last_epoch) == (2.0, 1)
    with pytest.raises(ValueError, match="run of 0 steps"):
        build_schedule(0.1, steps_per_epoch=2, total_steps=0)


def test_a_word_that_exempts_nothing_is_logged(caplog):
    config = {"name": "Adam", "learning_rate": 0.1, "no_weight_decay_name": "bias layer_norm"}
    with caplog.at_level(logging.WARNING):
        build_optimizer(config, 0.1, model())
    assert 'contains "layer_norm"' in caplog.text
    assert '"bias"' not in caplog.text


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "Adm"}, 'Did you mean "Adam"'),
        ({"weight_decay": {"name": "L3", "value": 0.1}}, "Adam supports L1 or L2"),
        ({"weight_decay": {"name": "Decoupled", "value": 0.1}}, "AdamW"),
        ({"name": "AdamW", "weight_decay": {"name": "L2", "value": 0.1}}, "supports Decoupled"),
        ({"weight_decay": {"name": "L2"}}, "expected {name: ..., value: a number}"),
        ({"grad_clip": {"name": "ClipGradByGlobal", "value": 1}}, "Did you mean"),
        ({"grad_clip": {"name": "global", "value": 0}}, "more than 0"),
        ({"lr_scale": [{"match": "first"}]}, r"lr_scale\.0"),
        ({"lr_scale": [{"match": "(", "scale": 1}]}, "not usable"),
        ({"lr_scale": [{"match": "nowhere", "scale": 1}]}, "nowhere matches no trainable"),
        ({"learning_rate": {"name": "Nope"}}, 'schedule "Nope"'),
    ],
)
def test_faults_are_named(entry, message):
    config = {"name": "Adam", "learning_rate": 0.1, **entry}
    with pytest.raises(ConfigError, match=message):
        build_optimizer(config, 0.1, model())


def test_master_weights_are_refused_where_paddle_has_none():
    with pytest.raises(ConfigError, match="keeps no float32 copies"):
        build_optimizer({"name": "RMSProp", "learning_rate": 0.1}, 0.1, model(), True)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_trains_and_has_a_signature_that_can_be_checked(name):
    part = OPTIMIZERS.get(name)
    hints = typing.get_type_hints(part.__init__)
    assert set(inspect.signature(part).parameters) <= set(hints)
    net = model()
    before = weights(net)
    optimizer = build_optimizer({"name": name, "learning_rate": 0.1}, 0.1, net)
    (net(paddle.ones([2, 3])) ** 2).sum().backward()
    optimizer.step()
    assert not np.array_equal(weights(net)["last.weight"], before["last.weight"])


@pytest.mark.parametrize("name", ["SGD", "Adam", "Adamax"])
def test_l2_in_place_has_the_bits_of_paddles_own_sum(name):
    config = {
        "name": name,
        "learning_rate": 1e-3,
        "weight_decay": {"name": "L2", "value": 1e-2},
        "grad_clip": {"name": "global", "value": 0.1},
    }

    def trained(in_place):
        net = model()
        optimizer = build_optimizer(config, config["learning_rate"], net)
        if not in_place:
            del optimizer._create_regularization_of_grad
        for step in range(3):
            paddle.seed(step)
            (net(paddle.randn([5, 3])) ** 2).mean().backward()
            optimizer.step()
            optimizer.clear_grad(set_to_zero=False)
        return weights(net)

    found, expected = trained(in_place=True), trained(in_place=False)
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array)
