"""Arrays copied to the device in blocks."""

import numpy as np
import paddle

from paddlevideo.modeling.backbones.tangled import Streams
from paddlevideo.modeling.transfer import to_tensors


def test_arrays_of_one_type_are_one_copy(monkeypatch):
    rng = np.random.default_rng(0)
    kept = paddle.ones([2])
    tree = (
        {"a": rng.normal(size=(2, 3)).astype("float32"), "tensor": kept, "text": "x"},
        Streams(np.arange(4), rng.integers(0, 9, (3, 1)), rng.random((5, 2), dtype=np.float32)),
        (np.int64(7), {"b": np.zeros((0, 3), "int64"), "one": np.array(3)}),
        np.array([True, False]),
    )
    copied, to_tensor = [], paddle.to_tensor
    monkeypatch.setattr(paddle, "to_tensor", lambda x: copied.append(x.dtype) or to_tensor(x))
    first, streams, (number, second), flags = to_tensors(tree)
    assert sorted(map(str, copied)) == ["bool", "float32", "int64", "int64"]  # one is empty
    assert first["tensor"] is kept and first["text"] == "x" and number == 7
    assert isinstance(streams, Streams)
    pairs = [
        *zip(streams, tree[1], strict=True),
        *[(first["a"], tree[0]["a"]), (flags, tree[3])],
        *[(second[key], tree[2][1][key]) for key in ("b", "one")],
    ]
    for tensor, array in pairs:
        assert tensor.numpy().dtype == array.dtype
        np.testing.assert_array_equal(tensor.numpy(), array)
