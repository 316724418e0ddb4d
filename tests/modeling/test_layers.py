"""Dense layers."""

import numpy as np
import paddle
import pytest
from paddle import nn

from paddlevideo.modeling.layers import Linear


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
