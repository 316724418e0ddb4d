"""Files of pickles: .npy, .pdparams and .pdopt."""

from __future__ import annotations

import contextlib
import io
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddlevideo import safe_pickle
from paddlevideo.utils.errors import DataError
from tests.pickle_samples import OBJECTS, PROTOCOLS, SAMPLES, same

# --- .npy


@pytest.mark.parametrize("name", ["float32", "fortran", "text", "no rows", "no dimension", "bool"])
def test_load_npy_plain(tmp_path, name):
    np.save(tmp_path / "a.npy", SAMPLES[name])
    assert same(safe_pickle.load_npy(tmp_path / "a.npy"), SAMPLES[name])


def test_load_npy_objects_are_views_of_the_file(tmp_path):
    array = np.empty(2, dtype=object)
    array[:] = [(np.arange(1000.0), "a"), (np.arange(3), "b")]
    np.save(tmp_path / "a.npy", array)
    read = safe_pickle.load_npy(tmp_path / "a.npy")
    assert same(read, array)
    assert not read[0][0].flags.owndata and not read[0][0].flags.writeable


def npy_header(dtype: str, shape: str) -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text.encode() + b"\n"


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "empty"),
        (b"PK\x03\x04", "not a valid"),
        (npy_header("<f4", "(3,)") + bytes(11), "cut short: 12 bytes"),
        (npy_header("<f8", "(134217728, 8)"), "cut short"),
        (npy_header("<f8", "(-1, 8)") + bytes(64), "not a valid"),
        (npy_header("<c8", "(1,)") + bytes(8), "complex"),
        (npy_header("|O", "(2,)") + pickle.dumps(OBJECTS, 4), "header declares"),
        (npy_header("|O", "(2,)") + pickle.dumps([1, 2], 4), "header declares"),
        (npy_header("|O", "(2, 2)") + pickle.dumps(OBJECTS, 4)[:-40], "is cut short"),
        (npy_header("|O", "("), "not a valid"),
    ],
)
def test_load_npy_faults_name_the_file(tmp_path, contents, message):
    path = tmp_path / "rows.npy"
    path.write_bytes(contents)
    with pytest.raises(DataError, match=rf"rows\.npy: .*{message}"):
        safe_pickle.load_npy(path)


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "absent.npy", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            safe_pickle.load_npy(path)


@given(st.integers(0, 400), st.integers(1, 255))
@settings(max_examples=150, deadline=None)
def test_damaged_npy_gives_data_errors_only(tmp_path_factory, place, change):
    file = io.BytesIO()
    np.save(file, OBJECTS)
    data = bytearray(file.getvalue())
    data[place % len(data)] ^= change
    path = tmp_path_factory.getbasetemp() / "damaged.npy"
    path.write_bytes(data)
    with contextlib.suppress(DataError):
        safe_pickle.load_npy(path)


# --- .pdparams and .pdopt


class Pair:
    """Pickles as Paddle's tensors do: a call of tuple."""

    def __init__(self, name, array):
        self.pair = (name, array)

    def __reduce__(self):
        return tuple, (self.pair,)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_load_state(tmp_path, protocol):
    weight = SAMPLES["float32"]
    state = {
        "a.weight": Pair("linear_0.w_0", weight),
        "b": weight[0],
        "LR_Scheduler": {"last_epoch": 3, "last_lr": 0.1},
        "master_weights": {"x": Pair("x_fp32", weight)},
        "big@@.0": weight[0],
        "big@@.1": weight[1],
        "UnpackBigParamInfor@@": {"big": {"OriginShape": (3, 2), "slices": ["big@@.0", "big@@.1"]}},
        "StructuredToParameterName@@": {"a.weight": "linear_0.w_0"},
    }
    path = tmp_path / "s.pdparams"
    path.write_bytes(pickle.dumps(state, protocol))
    expected = {
        "a.weight": weight,
        "b": weight[0],
        "LR_Scheduler": {"last_epoch": 3, "last_lr": 0.1},
        "master_weights": {"x": weight},
        "big": weight.reshape(3, 2),
    }
    read = safe_pickle.load_state(path)
    assert same(dict(sorted(read.items())), dict(sorted(expected.items())))
    read["a.weight"][0, 0] = 7  # owns its memory


@pytest.mark.parametrize(
    "state",
    [
        [1, 2],
        {"UnpackBigParamInfor@@": 3},
        {"UnpackBigParamInfor@@": {"a": {"OriginShape": (2,), "slices": ["absent"]}}},
        {"b": np.zeros(3), "UnpackBigParamInfor@@": {"a": {"OriginShape": (2,), "slices": ["b"]}}},
    ],
)
def test_faulty_state_names_the_file(tmp_path, state):
    path = tmp_path / "s.pdparams"
    path.write_bytes(pickle.dumps(state, 4))
    with pytest.raises(DataError, match="s.pdparams"):
        safe_pickle.load_state(path)


def test_reads_the_reference_weights(shared):
    for name in ("tiny_mul", "tiny_sum"):
        path = shared / "reference" / f"{name}.pdparams"
        state = safe_pickle.load_state(path)
        with open(path, "rb") as file:
            known = pickle.load(file)
        assert list(state) == [key for key in known if key != "StructuredToParameterName@@"]
        for key, array in state.items():
            value = known[key]
            np.testing.assert_array_equal(array, value[1] if isinstance(value, tuple) else value)


def test_reads_the_reference_rows(shared):
    path = shared / "reference" / "actbert_train_data.npy"
    assert same(safe_pickle.load_npy(path), np.load(path, allow_pickle=True))
