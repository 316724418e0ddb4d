"""Loads weights into a model and tells what did not fit."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from paddle import Tensor

from paddlevideo.modeling.bert_weights import from_bert, is_bert
from paddlevideo.modeling.framework.base import BaseFramework
from paddlevideo.safe_pickle import load_state
from paddlevideo.utils.errors import WeightsError

log = logging.getLogger("paddlevideo")
SHOWN = 5


@dataclass
class LoadReport:
    """What happened to each name, ours or, where unexpected, the file's."""

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
                more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
                lines.append(f"  {len(names)} {kind}: {', '.join(names[:SHOWN])}{more}")
        return "\n".join(lines)


def load_weights(model: BaseFramework, path: str | Path, for_test: bool = False) -> LoadReport:
    """Loads a ``.pdparams`` or ``.safetensors`` file, ActBERT's or any BERT's, into ``model``.

    Prints what was missing, unexpected or misshapen. Parameters that the file lacks keep their
    values. ``for_test``: raises WeightsError if a parameter that testing needs stays unset.
    Raises WeightsError also if the file cannot be read or no parameter of it fits.
    """
    state = read_weights(path)
    report = assign(model, model.from_released(state), str(path))
    log.info("%s", report)
    if not report.loaded:
        raise WeightsError(f"{path} holds no parameter of this model.\n{report}")
    if for_test:
        _check_complete(model, report)
    return report


def _check_complete(model: BaseFramework, report: LoadReport) -> None:
    try:
        model.check_loaded(report.missing + [m.split(" ")[0] for m in report.misshapen])
    except WeightsError as fault:
        raise WeightsError(
            f"{fault}\n{report}\nThe configuration's sizes must be those of the weights."
        ) from None


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Arrays of a weight file by name; a BERT's come under ActBERT's published names."""
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such weight file")
    if path.suffix == ".safetensors":
        state = _read_safetensors(path)
    else:
        state = {k: v for k, v in load_state(path).items() if isinstance(v, np.ndarray)}
    return from_bert(state, path.suffix == ".safetensors") if is_bert(state) else state


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, KeyError, ValueError) as fault:
        raise WeightsError(f"{path} cannot be read as safetensors: {fault}") from fault


def assign(model: BaseFramework, state: Mapping[str, np.ndarray], path: str) -> LoadReport:
    """Sets parameters and buffers by name where the shapes agree; reports the rest."""
    report = LoadReport(path)
    own: dict[str, Tensor] = model.state_dict()
    report.unexpected = [name for name in state if name not in own]
    for name, tensor in own.items():
        if name not in state:
            report.missing.append(name)
        elif list(state[name].shape) != list(tensor.shape):
            report.misshapen.append(
                f"{name} {list(state[name].shape)} instead of {list(tensor.shape)}"
            )
        else:
            tensor.set_value(_as_dtype(state[name], tensor))
            report.loaded.append(name)
    return report


def _as_dtype(array: np.ndarray, tensor: Tensor) -> np.ndarray:
    """``array`` as float32 (Paddle files hold bfloat16 as uint16), or as it is if not a float."""
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32) if array.dtype.kind == "f" else array
