"""Finds weight files, recognizes their format and reads their arrays.

The format is recognized by a file's first bytes, not its name. Names and layout here are those of
the file; :mod:`paddlevideo.modeling.weights` converts them to those of a model.
"""

from __future__ import annotations

import json
import logging
import mmap
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.files.filetype import (
    HTML_PAGE,
    JSON,
    NPZ_ARCHIVE,
    PICKLE,
    PYTORCH_CHECKPOINT,
    SAFETENSORS,
    describe_file,
)
from paddlevideo.registry import did_you_mean
from paddlevideo.safe_pickle import load_pytorch, load_state
from paddlevideo.utils.errors import WeightsError
from paddlevideo.utils.printable import some

log = logging.getLogger("paddlevideo")

SUFFIXES = (".pdparams", ".safetensors")
#: Keys under which training scripts store the weights, the most likely first.
WRAPPING_KEYS = ("state_dict", "model", "model_state_dict", "weights", "params", "net", "module")
#: Keys that occur only in the state of an optimizer or of a training run.
OPTIMIZER_KEYS = frozenset(["LR_Scheduler", "master_weights", "scaler", "optimizer"])
_OPTIMIZER_ARRAY = re.compile(r"(_|/)(moment\d?|velocity|beta\d_pow_acc|master_weight)(_\d+)?$")
_SAFETENSORS_TYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "?"},
    **{f"I{8 * n}": f"<i{n}" for n in (1, 2, 4, 8)},
    **{f"U{8 * n}": f"<u{n}" for n in (1, 2, 4, 8)},
}

_TENSORFLOW = (
    "a TensorFlow checkpoint, which cannot be read: use the model.safetensors of the same BERT, or "
    "convert it with PyTorch and transformers: BertForPreTraining.from_pretrained(FOLDER, "
    "from_tf=True).save_pretrained(FOLDER)"
)
_SHARDS = (
    'python -c "import glob; from safetensors.numpy import load_file, save_file; save_file({{k: v '
    "for f in glob.glob('{folder}/*-of-*.safetensors') for k, v in load_file(f).items()}}, "
    "'whole.safetensors', {{'format': 'pt'}})\""
)
#: What to do with a file of each kind.
_ADVICE = {
    HTML_PAGE: (
        "Download the weights again, from the address of the file itself and, if needed, with a "
        "login"
    ),
    NPZ_ARCHIVE: (
        'Write it as .pdparams: python -c "import numpy, paddle; '
        "paddle.save(dict(numpy.load('{name}')), '{stem}.pdparams')\""
    ),
    JSON: "The weights are in another file, often in the same folder",
    "an empty file": "Copy or download it again",
}


@dataclass(frozen=True)
class WeightFile:
    """The arrays of a file by name; bfloat16 as uint16."""

    path: Path
    arrays: Mapping[str, np.ndarray]
    #: Whether it is in Paddle's format, which stores dense weights as (inputs, outputs).
    is_pickle: bool
    metadata: Mapping[str, str] = field(default_factory=dict)


def locate_weights(path: str | Path) -> Path:
    """Returns the weight file at ``path``, with a suffix added, or the one in that folder.

    Raises WeightsError if there is none, or several.
    """
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:/", str(path)):
        raise WeightsError(
            f"{path} is a URL, and nothing is downloaded: download the file first (wget, curl -LO, "
            "a browser) and give its path"
        )
    path = Path(path)
    if path.is_dir():
        return _in_folder(path)
    if path.exists():
        return path
    for suffix in SUFFIXES:
        completed = path.with_name(path.name + suffix)
        if path.name and completed.is_file():
            return completed
    siblings = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    if f"{path.name}.index" in siblings:
        raise WeightsError(f"{path} is {_TENSORFLOW}")
    weights = [name for name in siblings if name.endswith(SUFFIXES)]
    as_weights = path.with_suffix(SUFFIXES[0]).name if path.name else ""
    near = did_you_mean(as_weights, weights) or did_you_mean(path.name, siblings)
    raise WeightsError(f"{path}: no such weight file.{near}")


def _in_folder(folder: Path) -> Path:
    """Returns the only weight file in a folder, or the only one named ``*_best``."""
    files = sorted(
        file for file in folder.iterdir() if file.suffix in SUFFIXES and file.name[0] != "."
    )
    best = [file for file in files if file.stem.endswith("_best")]
    if len(files) == 1 or len(best) == 1:
        return (best or files)[0]
    if (folder / "export.json").is_file():
        raise WeightsError(
            f"{folder} is an exported model, which paddlevideo predict --model runs. Give the "
            ".pdparams that it was exported from"
        )
    if any(folder.glob("*.safetensors.index.json")):
        raise WeightsError(f"{folder} contains {_sharded(folder)}")
    if any(folder.glob("*.ckpt*.index")):
        raise WeightsError(f"{folder} contains {_TENSORFLOW}")
    if not files:
        others = some(sorted(file.name for file in folder.iterdir())) or "nothing"
        raise WeightsError(
            f"{folder} is a folder without a .pdparams or .safetensors file; it contains {others}"
        )
    raise WeightsError(
        f"{folder} is a folder with {len(files)} weight files; give one of them: "
        f"{some(file.name for file in files)}"
    )


def _sharded(folder: Path) -> str:
    command = _SHARDS.format(folder=folder)
    return f"weights that are split over several files. Join them first: {command}"


def read_weight_file(path: str | Path) -> WeightFile:
    """Reads a ``.pdparams``, a ``.safetensors`` or a PyTorch file.

    Raises WeightsError or DataError.
    """
    given, path = path, locate_weights(path)
    if path != Path(given):
        log.info("%s: reading %s", given, path)
    kind = describe_file(path)
    if kind == SAFETENSORS:
        return _read_safetensors(path)
    if kind == PICKLE:
        return WeightFile(path, _unwrapped(load_state(path), path), is_pickle=True)
    if kind == PYTORCH_CHECKPOINT:
        arrays = _unwrapped(load_pytorch(path), path)
        return WeightFile(path, arrays, is_pickle=False, metadata={"format": "pt"})
    expected = "expected a .pdparams, a .safetensors or a PyTorch file"
    raise WeightsError(f"{path} is {kind}; {expected}.{_advice(path, kind)}")


def _advice(path: Path, kind: str) -> str:
    if path.name.endswith(".safetensors.index.json"):
        return f" It belongs to {_sharded(path.parent)}"
    weights = path.with_suffix(".pdparams")
    if kind == JSON and weights.is_file():
        return f" Give the weights: {weights}"
    if path.suffix in (".pdiparams", ".pdmodel"):
        return " It belongs to an exported model; give the .pdparams that this was exported from"
    text = _ADVICE.get(kind, "")
    return f" {text.format(name=path, stem=path.with_suffix(''))}" if text else ""


# ------------------------------------------------------------------------------- pickles


def _unwrapped(state: Any, path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a state dict, or of the inner one that holds the weights."""
    if not isinstance(state, Mapping):
        raise WeightsError(f"{path} contains a {type(state).__name__}, not named arrays")
    arrays = _arrays(state)
    if arrays and not _are_of_an_optimizer(arrays):
        return arrays
    inner = {} if arrays else {k: v for k, v in state.items() if isinstance(v, Mapping)}
    key = next((key for key in WRAPPING_KEYS if key in inner), None)
    if key is None and (arrays or not OPTIMIZER_KEYS.isdisjoint(state)):
        weights = path.with_suffix(".pdparams")
        is_there = weights != path and weights.is_file()
        advice = f"the weights are in {weights}" if is_there else "give the .pdparams"
        raise WeightsError(f"{path} contains an optimizer's state (a .pdopt file): {advice}")
    if key is None and len(inner) == 1:
        (key,) = inner
    if key is None:
        raise WeightsError(
            f"{path} contains no named arrays, but: {some(state) or 'nothing'}. "
            "Save only the model's state dict: paddle.save(model.state_dict(), path)"
        )
    log.info('%s: the weights are those under the key "%s"', path, key)
    return _unwrapped(inner[key], path)


def _arrays(state: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the arrays in a dict, whose tensors may be pairs of a name and an array."""
    values = {
        str(name): value[1] if isinstance(value, tuple) and len(value) == 2 else value
        for name, value in state.items()
    }
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


def _are_of_an_optimizer(arrays: Mapping[str, Any]) -> bool:
    return 2 * sum(bool(_OPTIMIZER_ARRAY.search(name)) for name in arrays) >= len(arrays)


# --------------------------------------------------------------------------- safetensors


def _read_safetensors(path: Path) -> WeightFile:
    """Reads arrays as views of the mapped file; bfloat16, which NumPy lacks, as uint16."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:  # checks sizes and positions
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path} is truncated or corrupt ({error}). Copy or download it again"
        ) from error
    with open(path, "rb") as opened:
        buffer = memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
    start = 8 + int.from_bytes(buffer[:8], "little")
    header = json.loads(bytes(buffer[8:start]))
    arrays = {
        name: _tensor(entry, buffer[start:], f"{path}: {name}")
        for name, entry in header.items()
        if name != "__metadata__"
    }
    return WeightFile(path, arrays, is_pickle=False, metadata=metadata)


def _tensor(entry: Mapping[str, Any], data: memoryview, name: str) -> np.ndarray:
    if entry["dtype"] not in _SAFETENSORS_TYPES:
        raise WeightsError(
            f"{name} is of type {entry['dtype']}: save the weights as float32, float16 or bfloat16"
        )
    first, end = entry["data_offsets"]
    if first == end:
        return np.empty(entry["shape"], _SAFETENSORS_TYPES[entry["dtype"]])
    flat = np.frombuffer(data[first:end], _SAFETENSORS_TYPES[entry["dtype"]])
    return flat.reshape(entry["shape"])
