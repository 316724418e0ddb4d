"""Clips as samples of tar files in WebDataset's layout: arrays in ``.npy``, texts in ``.json``.

The members of a sample follow one another; their names are its key, a number, a dot and what they
hold: ``000000007.json``, ``000000007.regions.npy``. Ids, which may have dots, are in the JSON.
"""

from __future__ import annotations

import io
import json
import math
import tarfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from tokenize import TokenError
from typing import Any

import numpy as np

from paddlevideo.loader.clips.clip import About, Clip
from paddlevideo.loader.store.records import about_of, clip_of, parts_of

BLOCK = tarfile.BLOCKSIZE
#: What ends a tar file.
END = bytes(2 * BLOCK)
TEXTS, ARRAY = "json", ".npy"
#: Members that every clip has, and what a JSON may leave out.
NEEDED = ("regions", "boxes", "actions")
_DEFAULTS: dict[str, Any] = {"captions": [], "times": [], "video": "", "extra": {}}
_MAGIC = np.lib.format.magic(1, 0)
_KNOWN_HEADERS = 4096  # (rows, width) of regions and actions: few differ
#: What to do about a damaged sample.
ADVICE = "Copy or write the file again"


def encode_sample(clip: Clip, number: int, dtype: str) -> bytes:
    """Returns the members of a clip with their headers, the texts first.

    Depends on clip, number and dtype alone. Raises DataError as ``records.parts_of``.
    """
    tensors, text = parts_of(clip, dtype)
    members = {TEXTS: text.encode()}
    for name, tensor in tensors.items():
        file = io.BytesIO()
        np.lib.format.write_array(file, tensor, version=(1, 0), allow_pickle=False)
        members[name + ARRAY] = file.getvalue()
    return b"".join(_member(f"{number:09d}.{name}", data) for name, data in members.items())


def _member(name: str, data: bytes) -> bytes:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    head = header.tobuf(tarfile.USTAR_FORMAT)  # no date, no owner
    return head + data + bytes(-len(data) % BLOCK)


def members_of(sample: bytes) -> tuple[dict[str, memoryview], str]:
    """Returns the contents of a sample that :func:`encode_sample` made, and its key.

    Contents are given by the ends of their names, as ``regions.npy``; only those that are whole in
    the beginning of a sample. Raises ValueError if it is damaged.
    """
    members, key, start, view = dict[str, memoryview](), "", 0, memoryview(sample)
    while start + BLOCK <= len(view):
        begin = start + BLOCK
        size = int(sample[start + 124 : start + 135], 8)
        if size < 0 or begin + size > len(view):
            break
        name = sample[start : start + 100].rstrip(b"\0").decode("ascii")
        key, _, end = name.partition(".")
        members[end] = view[begin : begin + size]
        start = begin + size + -size % BLOCK
    return members, key


def texts_end(head: bytes) -> int:
    """Returns where the texts end of a sample that begins with ``head``. Raises ValueError."""
    return BLOCK + int(head[124:135], 8)


def clip_of_members(members: Mapping[str, memoryview], key: str) -> Clip:
    """Returns the clip of the members of a sample, by the ends of their names.

    ``region_classes.npy`` (n, C) may be in place of the kept classes. Raises ValueError and others
    that ``records.damage`` catches, naming the member, if one is absent or damaged.
    """
    texts = _texts(members, key)
    tensors = {
        name.removesuffix(ARRAY): array_of(data, f"{key}.{name}")
        for name, data in members.items()
        if name.endswith(ARRAY)
    }
    if "size" not in texts:
        raise ValueError(f"{key}.{TEXTS} has no size, the [height, width] of the images")
    if absent := [f"{key}.{name}{ARRAY}" for name in NEEDED if name not in tensors]:
        raise ValueError(f"it has no {', '.join(absent)}")
    rows = len(tensors["regions"])
    expected = {"regions": (rows, 0), "boxes": (rows, 4), "actions": (0, 0)}
    expected["region_classes"] = (rows, 0)
    for name, (count, width) in expected.items():
        shape = tensors[name].shape if name in tensors else (count, width)
        if len(shape) != 2 or (count or shape[0], width or shape[1]) != shape:
            wanted = f"({count or 'any'}, {width or 'any'})"
            raise ValueError(f"{key}.{name}{ARRAY} has shape {shape}; expected {wanted}")
    distributions = tensors.pop("region_classes", None)
    clip = clip_of(tensors, texts)
    if distributions is not None:
        clip.distributions = np.array(distributions, np.float32)
    return clip


def about_of_members(members: Mapping[str, memoryview], key: str) -> About:
    """Returns id, captions and origin of a sample. Raises as :func:`clip_of_members`."""
    return about_of(_texts(members, key))


def _texts(members: Mapping[str, memoryview], key: str) -> dict[str, Any]:
    if TEXTS not in members:
        raise ValueError(f"it has no {key}.{TEXTS}")
    try:
        texts = json.loads(bytes(members[TEXTS]))
    except ValueError as error:
        raise ValueError(f"{key}.{TEXTS}: {error}") from None
    if not isinstance(texts, dict):
        raise ValueError(f"{key}.{TEXTS} holds no object with names and values")
    return {"id": key, **_DEFAULTS, **texts}


def array_of(data: memoryview, name: str) -> np.ndarray:
    """Returns the array in an ``.npy`` member, which refers to ``data``. Raises ValueError."""
    try:
        # Version 1.0 has the length of its header in two bytes, later ones in four.
        wide = 2 if bytes(data[: len(_MAGIC)]) == _MAGIC else 4
        start = (
            len(_MAGIC) + wide + int.from_bytes(data[len(_MAGIC) : len(_MAGIC) + wide], "little")
        )
        dtype, shape, by_columns = _header(bytes(data[:start]))
        count = math.prod(shape)
        if len(data) - start != count * dtype.itemsize:
            raise ValueError(f"{len(data) - start} bytes of an array of {shape} {dtype}")
        array = np.frombuffer(data, dtype, count, start)
    except (ValueError, TypeError, SyntaxError, OverflowError, TokenError) as error:
        raise ValueError(f"{name}: {error}") from None
    return array.reshape(shape, order="F" if by_columns else "C")


@lru_cache(_KNOWN_HEADERS)
def _header(head: bytes) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Returns type, shape and whether columns come first. Raises ValueError unless of numbers."""
    file = io.BytesIO(head)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, by_columns, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"version {version} of .npy; expected 1.0 or 2.0")
    if dtype.kind not in "fiu" or min(shape, default=0) < 0:
        raise ValueError(f"holds {dtype} of shape {shape}; expected numbers")
    return dtype, shape, by_columns


def scanned(path: str) -> Iterator[tuple[str, dict[str, tuple[int, int]]]]:
    """Yields the key of each sample of any tar file, and begin and size of its members.

    Names are only compared: nothing is written under them. Files without a dot in their names are
    left out, as WebDataset does. Raises OSError and tarfile.TarError.
    """
    key, members = "", dict[str, tuple[int, int]]()
    with tarfile.open(path, "r:") as tar:
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # it would keep all
            folder, _, name = member.name.rpartition("/")
            stem, dot, end = name.partition(".")
            if not member.isreg() or not dot or not stem:
                continue
            this = f"{folder}/{stem}" if folder else stem
            if this != key and members:
                yield key, members
                members = {}
            key = this
            members[end] = (member.offset_data, member.size)
    if members:
        yield key, members
