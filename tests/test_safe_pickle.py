"""The reader of pickles: what it reads, and that nothing in a file can run or swell."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddlevideo import safe_pickle
from paddlevideo.utils.errors import DataError
from tests.pickle_samples import OBJECTS, PROTOCOLS, SAMPLES, same


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", SAMPLES)
def test_reads_what_pickle_reads(name, protocol):
    value = SAMPLES[name]
    assert same(safe_pickle.loads(pickle.dumps(value, protocol)), value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_reads_names_of_both_numpy_versions(core, protocol):
    data = pickle.dumps([np.arange(300.0), np.float64(2)], protocol=protocol)
    here = b"numpy._core" if b"numpy._core" in data else b"numpy.core"
    if protocol >= 4:  # a length in front of the name, and one of the frame
        frame = struct.unpack_from("<Q", data, 3)[0]
        frame += (len(core) - len(here)) * data.count(here)
        data = data[:3] + struct.pack("<Q", frame) + data[11:]
        for tail in (b".multiarray", b".numeric"):
            old, new = here + tail, core + tail
            data = data.replace(b"\x8c%c%b" % (len(old), old), b"\x8c%c%b" % (len(new), new))
    else:
        data = data.replace(here, core)
    array, scalar = safe_pickle.loads(data)
    assert array.tolist() == list(range(300)) and scalar == 2


def test_shared_references_stay_shared():
    part = np.arange(3)
    first, second = safe_pickle.loads(pickle.dumps([[part], [part]], 4))
    assert first[0] is second[0]


class Runs:
    """Its pickle calls a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class HasState:
    """Its pickle sets attributes."""

    def __init__(self):
        self.value = 1


def nested(attack):
    array = np.empty(2, dtype=object)
    array[:] = [1, (attack,)]
    return array


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"w": ("w", x)}, nested])
@pytest.mark.parametrize(
    ("function", "name"), [(os.system, "system"), (eval, "eval"), (os.mkdir, "mkdir")]
)
def test_code_is_refused_and_does_not_run(tmp_path, function, name, wrap, protocol):
    mark = tmp_path / "ran"
    argument = {"system": f"touch {mark}", "eval": f"open({str(mark)!r}, 'w')"}.get(name, str(mark))
    data = pickle.dumps(wrap(Runs(function, argument)), protocol)
    with pytest.raises(DataError, match=rf'record 7: .*the name "\w+\.{name}"'):
        safe_pickle.loads(data, "record 7")
    assert not mark.exists()
    pickle.loads(data)  # the attack is real: pickle itself runs it
    assert mark.exists()


@pytest.mark.parametrize("extension", ["pdparams", "npy"])
def test_code_in_files_is_refused(tmp_path, extension):
    path, mark = tmp_path / f"bad.{extension}", tmp_path / "ran"
    attack = Runs(os.mkdir, str(mark))
    if extension == "npy":
        np.save(path, nested(attack))
        read = safe_pickle.load_npy
    else:
        path.write_bytes(pickle.dumps({"weight": ("w", attack)}, 4))
        read = safe_pickle.load_state
    with pytest.raises(DataError, match=f"bad.{extension}.*mkdir"):
        read(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "value",
    [HasState(), {1, 2}, 1j, np.array([1j]), np.zeros(2, [("a", int)]), np.datetime64("2020"), int]
    + [np.float32, np.dtype("f4").newbyteorder, {(1, 2): 3}, {1.5: 2}, range(3)],
)
def test_other_objects_are_refused(value):
    with pytest.raises(DataError):
        safe_pickle.loads(pickle.dumps(value, 4))


def peak_of(function) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


NDARRAY = b"cnumpy\nndarray\n"
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
DTYPE = (
    b"cnumpy\ndtype\n(X\x02\x00\x00\x00f8\x89\x88tR(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ"
)
DTYPE += b"\xff\xff\xff\xffK\x00tb"
SHAPE = b"(K\x01J\x00\x00\x00\x08\x85"  # state: version 1, shape (2**27,)
GREEDY = {
    "shape of 1 GB": b"\x80\x02" + RECONSTRUCT + b"(" + NDARRAY + b"J\x00\x00\x00\x08\x85C\x01btR.",
    "state of 1 GB": b"\x80\x02" + RECONSTRUCT + b"(" + NDARRAY + b"K\x00\x85C\x01btR"
    b"(K\x01J\x00\x00\x00\x08\x85" + DTYPE + b"\x89C\x08" + bytes(8) + b"tb.",
    "bytes by call": b"\x80\x02c__builtin__\nbytes\nJ\x00\x00\x00\x40\x85R.",
    "bytearray by call": b"\x80\x02c__builtin__\nbytearray\nJ\x00\x00\x00\x40\x85R.",
    "memo index": b"\x80\x02]r\xff\xff\xff\x7fh\x00.",
    "length 4": b"\x80\x03B\xff\xff\xff\x7fabc.",
    "length 8": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"abc.",
    "bytearray length": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"abc.",
    "text length": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"abc.",
    "integer length": b"\x80\x02\x8b\xff\xff\xff\x7fabc.",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 40),
}


@pytest.mark.parametrize("name", GREEDY)
def test_memory_is_bounded_by_the_file(name):
    assert peak_of(lambda: safe_pickle.loads(GREEDY[name])) < 1_000_000


def test_memo_index_costs_nothing():
    tracemalloc.start()
    assert safe_pickle.loads(b"\x80\x02]r\xff\xff\xff\x7f.") == []
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_nested_shared_lists_do_not_explode():
    value: list = []
    for _ in range(45):
        value = [value, value]
    read = safe_pickle.loads(pickle.dumps(value, 4))
    assert read[0] is read[1]


def test_nested_shared_tuples_as_a_key_do_not_explode():
    # Hashing them would take 2**40 steps.
    data = b"\x80\x02})" + b"".join(b"q%c h%c\x86".replace(b" ", b"") % (n, n) for n in range(40))
    with pytest.raises(DataError, match="key"):
        safe_pickle.loads(data + b"K\x01s.")


@pytest.mark.parametrize("kind", ["object", "encoded"])
def test_shared_contents_of_many_arrays_do_not_explode(kind):
    """A file of 200 kB that asks for a thousand arrays of 100,000 entries each."""
    if kind == "object":
        start = b"\x80\x02](" + b"N" * 100_000 + b"eq\x00]("
        dtype = DTYPE.replace(b"f8", b"O8").replace(b"X\x01\x00\x00\x00<", b"X\x01\x00\x00\x00|")
        state = b"(K\x01J\xa0\x86\x01\x00\x85" + dtype + b"\x89h\x00tb"
        array = RECONSTRUCT + b"(" + NDARRAY + b"K\x00\x85C\x01btR" + state
    else:
        start = b"\x80\x02X\xa0\x86\x01\x00" + b"a" * 100_000 + b"q\x00]("
        array = b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"
    assert peak_of(lambda: safe_pickle.loads(start + array * 1000 + b"e.")) < 20_000_000


def test_cycles_and_deep_nesting_are_refused():
    cycle: list = []
    cycle.append(cycle)
    deep: list = []
    for _ in range(100):
        deep = [deep]
    for value, message in [(cycle, "itself"), (deep, "nested")]:
        with pytest.raises(DataError, match=message):
            safe_pickle.loads(pickle.dumps(value, 4))
    with pytest.raises(DataError, match="nested"):  # deeper than Python's own stack
        safe_pickle.loads(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")


WHOLE = pickle.dumps({"a": [SAMPLES["float32"], OBJECTS, SAMPLES["plain"]], "b": ("w", 1)}, 4)


@given(st.integers(0, len(WHOLE) - 1))
@settings(max_examples=60, deadline=None)
def test_truncated(length):
    with pytest.raises(DataError):
        safe_pickle.loads(WHOLE[:length])


@given(
    st.sampled_from(PROTOCOLS),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 255)), min_size=1, max_size=4),
)
@settings(max_examples=200, deadline=None)
def test_flipped_bytes_give_data_errors_only(protocol, flips):
    data = bytearray(pickle.dumps({"a": [SAMPLES["float32"], OBJECTS], "b": b"x" * 30}, protocol))
    for place, change in flips:
        data[place % len(data)] ^= change
    with contextlib.suppress(DataError):
        safe_pickle.loads(bytes(data))


@given(st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_noise_gives_data_errors_only(data):
    with contextlib.suppress(DataError):
        safe_pickle.loads(b"\x80\x04" + data)
