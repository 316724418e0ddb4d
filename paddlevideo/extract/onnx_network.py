"""ONNX networks through onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.extract.network import Port, first_line
from paddlevideo.utils.errors import ConfigError, UserError

#: Where networks run: on a GPU where the installed onnxruntime can.
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
#: Inputs that are not float32.
TYPES: dict[str, np.dtype[Any]] = {
    "tensor(float16)": np.dtype(np.float16),
    "tensor(double)": np.dtype(np.float64),
    "tensor(uint8)": np.dtype(np.uint8),
}


class OnnxSession:
    """An ONNX model. Raises ConfigError where the file is none, UserError without onnxruntime."""

    def __init__(self, path: Path, where: str, threads: int) -> None:
        self._session = _open(path, where, threads)
        self.inputs = _ports(self._session.get_inputs())
        self.outputs = _ports(self._session.get_outputs())

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """Returns the named outputs. Raises an error of onnxruntime."""
        return list(self._session.run(list(outputs), dict(feeds)))


def _ports(values: Sequence[Any]) -> list[Port]:
    plain = np.dtype(np.float32)
    return [Port(each.name, each.shape, TYPES.get(each.type, plain)) for each in values]


def _open(path: Path, where: str, threads: int) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise UserError(
            f"{where}: ONNX networks need onnxruntime: pip install onnxruntime"
        ) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # advice for those who export networks
    options.intra_op_num_threads = threads
    try:
        providers = [name for name in PROVIDERS if name in onnxruntime.get_available_providers()]
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime has no base class for its errors
        raise ConfigError(
            f"{where}: {path} is not an ONNX model that can be run ({first_line(error)})"
        ) from None
