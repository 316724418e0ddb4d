"""What training leaves out changes neither losses nor gradients."""

import numpy as np
import paddle
import pytest

from paddlevideo.modeling.sparsity import labelled_positions, pack_words
from paddlevideo.modeling.transfer import to_tensors
from tests.modeling.test_actbert import plain_losses
from tests.modeling.tiny import build, make_batch


def gradients(model, loss):
    loss.backward()
    found = {n: p.grad.numpy().copy() for n, p in model.named_parameters() if p.grad is not None}
    model.clear_gradients()
    return found


@pytest.mark.parametrize(
    "depths", [{}, {"t_ent_attention_id": [0, 3], "v_ent_attention_id": [1, 2]}]
)
def test_training_without_dropout_has_the_gradients_of_computing_everything(depths):
    """Also with masked words in between, and where a stream ends with a tangled layer."""
    model = build(**depths)
    batch = make_batch(1)
    batch["text_mask"][[0, 1], [2, 4]] = 0  # of which the latter is labelled
    expected = gradients(model, plain_losses(model, batch)["loss"])
    model.train()
    for layer in model.sublayers():
        if isinstance(layer, paddle.nn.Dropout):
            layer.p = 0.0
    found = gradients(model, model(batch)["loss"])
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        np.testing.assert_allclose(found[name], gradient, rtol=1e-3, atol=1e-5, err_msg=name)


def test_packed_words_are_real_ones_labelled_ones_and_the_first():
    batch = {
        "text_mask": np.array([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]),
        "text_labels": np.array([[-1, 7, -1, -1], [-1, -1, -1, 9], [-1] * 4]),
    }
    packing = to_tensors(pack_words(batch))
    assert packing.kept.tolist() == [0, 1, 4, 5, 7, 8, 9, 10, 11]
    x = paddle.arange(12, dtype="float32").reshape([3, 4, 1])
    back = packing.unpack(packing.pack(x)).flatten().tolist()
    assert back == [0, 1, 0, 0, 4, 5, 0, 7, 8, 9, 10, 11]


def test_labelled_positions_are_the_first_and_the_labelled_ones():
    labels = np.array([[-1, 4, -1, 5], [-1, -1, -1, -1], [6, -1, -1, -1]])
    positions, predicted = labelled_positions(labels)
    assert positions.tolist() == [[0, 1, 3], [0, 0, 0], [0, 0, 0]]
    assert positions.ravel()[predicted].tolist() == [1, 3, 0]
    assert (predicted // 3).tolist() == [0, 0, 2]
    nothing = labelled_positions(np.full((2, 3), -1))
    assert nothing[0].tolist() == [[0], [0]] and nothing[1].tolist() == [0]
