"""Loads weights into a model and reports what did not fit."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import paddle
from paddle import Tensor

from paddlevideo.modeling.bert_weights import from_bert, is_bert
from paddlevideo.modeling.framework.base import BaseFramework
from paddlevideo.modeling.weight_files import read_weight_file
from paddlevideo.modeling.weight_layout import in_paddle_layout
from paddlevideo.utils.errors import WeightsError
from paddlevideo.utils.finite import describe_non_finite
from paddlevideo.utils.printable import some

log = logging.getLogger("paddlevideo")
#: Prefixes that parallel training and compilation add to every name.
WRAPPERS = ("module.", "_layers.", "_orig_mod.", "model.", "_model.", "network.", "net.")


@dataclass
class LoadReport:
    """Names that were loaded, missing, unexpected in the file, or of a wrong shape."""

    path: str
    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.path}: {len(self.loaded)} parameters loaded"]
        for kind in ("missing", "unexpected", "misshapen"):
            names = getattr(self, kind)
            if names:
                lines.append(f"  {len(names)} {kind}: {some(names)}")
        return "\n".join(lines)


def load_weights(model: BaseFramework, path: str | Path, for_test: bool = False) -> LoadReport:
    """Loads a ``.pdparams``, ``.safetensors`` or PyTorch file, ActBERT's or any BERT's.

    Logs what was missing, unexpected or misshapen. Parameters that the file lacks keep their
    values. Raises WeightsError if the file cannot be read, if none of its parameters fits, or if
    one contains NaN or infinity, all without changing ``model``; with ``for_test`` also if the file
    lacks a parameter that a test needs.
    """
    file = read_weight_file(path)
    state = model.from_released(under_known_names(model, file.arrays))
    model.before_loading(state)
    origin = {id(array): name for name, array in file.arrays.items()}
    called = {name: origin.get(id(array), name) for name, array in state.items()}
    report = assign(model, in_paddle_layout(model, state, file), str(file.path), called)
    if not report.loaded:
        wanted = model.to_released(model.state_dict())
        raise WeightsError(
            f"{file.path} contains no parameter of this model.\n"
            f"  it contains: {some(file.arrays)}\n  expected: {some(wanted)}"
            + "".join(f"\n  misshapen: {line}" for line in report.misshapen[:3])
        )
    log.log(logging.WARNING if report.misshapen else logging.INFO, "%s", report)
    if for_test:
        _check_complete(model, report)
    return report


def _check_complete(model: BaseFramework, report: LoadReport) -> None:
    try:
        model.check_loaded(report.missing + [m.split(" ")[0] for m in report.misshapen])
    except WeightsError as error:
        raise WeightsError(
            f"{error}\n{report}\nThe sizes and options of MODEL must be those of the weights: a "
            "run saves its own in config.yaml, beside them."
        ) from None


def under_known_names(
    model: BaseFramework, arrays: Mapping[str, np.ndarray]
) -> Mapping[str, np.ndarray]:
    """Returns the arrays of a file under the names that ``model`` uses in files.

    Prefixes of a wrapped model ("module.") are removed, a missing "backbone." is added, and a
    BERT's names become those of ActBERT's text stream. Renaming is logged.
    """
    if is_bert(arrays):
        renamed = from_bert(arrays)
        log.info(
            "BERT weights: %s is loaded as %s", *next((old, new) for new, old in renamed.items())
        )
        return {new: arrays[old] for new, old in renamed.items()}
    known = model.state_dict()
    choices = [
        {old: old for old in arrays},
        {_unwrapped_name(old): old for old in arrays},
        {f"backbone.{_unwrapped_name(old)}": old for old in arrays},
    ]
    states = [{new: arrays[old] for new, old in names.items()} for names in choices]
    known_names = [sum(name in known for name in model.from_released(each)) for each in states]
    best = known_names.index(max(known_names))
    changed = next(((old, new) for new, old in choices[best].items() if old != new), None)
    if changed:
        log.info("names have another prefix: %s is loaded as %s", *changed)
    return states[best]


def _unwrapped_name(name: str) -> str:
    while prefix := next((wrapper for wrapper in WRAPPERS if name.startswith(wrapper)), ""):
        name = name.removeprefix(prefix)
    return name


def assign(
    model: BaseFramework,
    state: Mapping[str, np.ndarray],
    path: str,
    called: Mapping[str, str] | None = None,
) -> LoadReport:
    """Sets parameters and buffers by name if the shapes agree; reports the rest.

    ``called``: the names in the file, for messages. Raises WeightsError, with nothing set, if an
    array contains NaN or infinity, except for a buffer of ``model`` that has no finite value yet.
    """
    report = LoadReport(path)
    tensors: dict[str, Tensor] = model.state_dict()
    report.unexpected = [name for name in state if name not in tensors]
    fitting = {}
    for name, tensor in tensors.items():
        if name not in state:
            report.missing.append(name)
        elif misfit := _misfit(state[name], tensor):
            report.misshapen.append(f"{name} {misfit}")
        else:
            fitting[name] = _as_dtype(state[name], tensor)
            report.loaded.append(name)
    _check_finite(model, fitting, path, called or {})
    for name, array in fitting.items():
        tensor = tensors[name]  # half precision at level O2
        tensor.set_value(paddle.to_tensor(array).astype(tensor.dtype))
    return report


def _misfit(array: np.ndarray, tensor: Tensor) -> str:
    """Describes a wrong shape or type of ``array``; "" if it fits."""
    if list(array.shape) != list(tensor.shape):
        return f"{list(array.shape)} instead of {list(tensor.shape)}"
    if paddle.is_floating_point(tensor) and array.dtype.kind != "f" and array.dtype != np.uint16:
        return f"{array.dtype} instead of floating-point numbers"
    return ""


def _check_finite(
    model: BaseFramework, arrays: Mapping[str, np.ndarray], path: str, called: Mapping[str, str]
) -> None:
    buffers = dict(model.named_buffers())
    for name, array in arrays.items():
        problem = describe_non_finite(array)
        if problem and not (name in buffers and describe_non_finite(buffers[name].numpy())):
            raise WeightsError(
                f"{path}: {called.get(name, name)} {problem}. Weights must be finite: the "
                "training diverged or the conversion is faulty. Use an earlier checkpoint (-w, or "
                "resume_epoch), or convert them again"
            )


def _as_dtype(array: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Returns floating-point arrays as float32; Paddle's files hold bfloat16 as uint16."""
    if array.dtype == np.uint16 and paddle.is_floating_point(tensor):
        return (array.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(over="ignore"):  # an overflow becomes infinite, which is an error
        return array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array
