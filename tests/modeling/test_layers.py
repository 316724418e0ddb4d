"""Dense layers."""

import numpy as np
import paddle
import pytest
from paddle import nn

from paddlevideo.modeling import layers
from paddlevideo.modeling.layers import Linear
from tests.modeling.tiny import build, make_batch


@pytest.mark.parametrize("shape", [(5, 3), (2, 5, 3), (3,)])
@pytest.mark.parametrize("frozen", ["", "x", "weight", "bias"])
def test_the_gradients_of_a_dense_layer_are_those_of_paddle(shape, frozen):
    ours, theirs = Linear(3, 4), nn.Linear(3, 4)
    theirs.set_state_dict(ours.state_dict())
    outputs, gradients = [], []
    for layer in (ours, theirs):
        paddle.seed(0)
        x = paddle.randn(shape)
        inputs = {"x": x, "weight": layer.weight, "bias": layer.bias}
        for name, tensor in inputs.items():
            tensor.stop_gradient = name == frozen
        outputs.append(layer(x))
        (outputs[-1] * paddle.arange(4, dtype="float32")).sum().backward()
        gradients.append({name: t.grad for name, t in inputs.items() if t.grad is not None})
    np.testing.assert_allclose(outputs[0].numpy(), outputs[1].numpy(), rtol=1e-6, atol=1e-6)
    assert gradients[0].keys() == gradients[1].keys() == {"x", "weight", "bias"} - {frozen}
    for name, gradient in gradients[1].items():
        np.testing.assert_allclose(gradients[0][name].numpy(), gradient.numpy(), rtol=1e-5)


def test_gradients_of_some_inputs_alone_can_be_asked_for_more_than_once():
    layer, x = Linear(3, 4), paddle.ones([5, 3])
    x.stop_gradient = False
    total = layer(x).sum()
    first, second = (paddle.grad(total, [x], retain_graph=True)[0].numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first[0], layer.weight.numpy().sum(axis=1), rtol=1e-6)


@pytest.mark.parametrize("tangle", ["released", "paper"])
def test_the_operators_for_gpus_give_the_same_losses_and_gradients(monkeypatch, tangle):
    batch, found = make_batch(clips=4), []
    for on_gpu in (False, True):
        monkeypatch.setattr(layers, "on_gpu", lambda on_gpu=on_gpu: on_gpu)
        model = build(match_negatives=2, tangle=tangle)
        losses = model(batch)
        losses["loss"].backward()
        gradients = {n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None}
        found.append({name: loss.numpy() for name, loss in losses.items()} | gradients)
    assert found[0].keys() == found[1].keys()
    for name, expected in found[0].items():
        np.testing.assert_allclose(found[1][name], expected, rtol=1e-4, atol=1e-5, err_msg=name)
