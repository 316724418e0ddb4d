"""ONNX networks through onnxruntime: loaded once, outputs by name, errors in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from paddlevideo.registry import did_you_mean
from paddlevideo.utils.errors import ConfigError, DataError, UserError

#: Where networks run: on a GPU where the installed onnxruntime can.
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
#: Inputs that are not float32.
TYPES: dict[str, np.dtype[Any]] = {
    "tensor(float16)": np.dtype(np.float16),
    "tensor(double)": np.dtype(np.float64),
    "tensor(uint8)": np.dtype(np.uint8),
}


class Network:
    """An ONNX model and the names of the outputs to compute.

    Raises ConfigError where the file is not a model, or lacks an input or output that is named;
    ``where`` is the key that named it.
    """

    def __init__(
        self,
        model: str,
        outputs: Sequence[str],
        where: str,
        input_name: str | None = None,
        threads: int = 0,
    ) -> None:
        self.model, self.where, self.outputs = model, where, list(outputs)
        self._session = _session(model, where, threads)
        known = [output.name for output in self._session.get_outputs()]
        for name in outputs:
            if name not in known:
                raise ConfigError(
                    f'{where}: {model} has no output "{name}".{did_you_mean(name, known)} It has: '
                    f"{_shapes(self._session.get_outputs())}"
                )
        self._input = self._choose_input(input_name)
        types = {each.name: each.type for each in self._session.get_inputs()}
        self._type: np.dtype[Any] = TYPES.get(types[self._input], np.dtype(np.float32))

    def _choose_input(self, name: str | None) -> str:
        inputs = self._session.get_inputs()
        known = [each.name for each in inputs]
        if name is None and len(known) == 1:
            return known[0]
        if name is None or name not in known:
            asked = f'no input "{name}".{did_you_mean(name, known)}' if name else "several inputs"
            raise ConfigError(
                f"{self.where}: {self.model} has {asked} input.name chooses one of: "
                f"{_shapes(inputs)}"
            )
        return name

    def run(self, array: np.ndarray) -> list[np.ndarray]:
        """Returns the outputs, float32 or integers, for an input. Raises DataError if it fails."""
        given = np.ascontiguousarray(array, self._type)
        try:
            outputs = self._session.run(self.outputs, {self._input: given})
        except Exception as error:  # onnxruntime has no base class for its errors
            raise DataError(
                f"{self.where}: {self.model} fails on an input of shape {given.shape}: "
                f"{str(error).strip().splitlines()[0]}"
            ) from None
        return [_plain(np.asarray(output)) for output in outputs]


def _session(model: str, where: str, threads: int) -> Any:
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
        return onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as error:  # as above
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"{where}: {model} is not an ONNX model that can be run ({reason})"
        ) from None


def _plain(output: np.ndarray) -> np.ndarray:
    return output.astype(np.float32, copy=False) if output.dtype.kind == "f" else output


def _shapes(values: Sequence[Any]) -> str:
    return ", ".join(f"{value.name} {value.shape}" for value in values)
