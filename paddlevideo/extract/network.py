"""Networks of all runtimes: inputs and outputs by name, batches, errors in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from paddlevideo.extract.models import ONNX, PADDLE, model_files
from paddlevideo.registry import did_you_mean
from paddlevideo.utils.errors import ConfigError, DataError

#: Inputs beside the image that PaddleDetection exports: the size of the image and its scale
#: (n, 2). With these values boxes are in pixels of the network's input.
SIZE_INPUT, SCALE_INPUT = "im_shape", "scale_factor"
#: Differences of a row's outputs, alone and with others, relative to the largest value.
SAME = 1e-3
MESSAGE = 300  # characters of a runtime's message


@dataclass(frozen=True)
class Port:
    """An input or output. ``shape``: None where the runtime does not tell it."""

    name: str
    shape: Sequence[int | str | None] | None = None
    dtype: np.dtype[Any] = np.dtype(np.float32)

    def __str__(self) -> str:
        return self.name if self.shape is None else f"{self.name} {list(self.shape)}"


class Session(Protocol):
    """A network that a runtime has loaded."""

    @property
    def inputs(self) -> Sequence[Port]:
        """The inputs, the image among them."""
        ...

    @property
    def outputs(self) -> Sequence[Port]:
        """All outputs."""
        ...

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """Returns the named outputs. Raises whatever the runtime raises."""
        ...


class Network:
    """A network and the names of the outputs to compute.

    An output that is None is the only one, or, where ``outputs`` is empty, all are computed.
    ``notes`` says what was guessed. Raises ConfigError where the files are not a network, or lack
    an input or output that is named; ``where`` is the key that named it.
    """

    def __init__(
        self,
        model: str,
        outputs: Sequence[str | None],
        where: str,
        input_name: str | None = None,
        threads: int = 0,
    ) -> None:
        self.model, self.where = model, where
        self.notes: list[str] = []
        self._session = _session(model, where, threads)
        known = [output.name for output in self._session.outputs]
        self.outputs = [self._choose_output(name, known) for name in outputs] or known
        self._input = self._choose_input(input_name)
        first = self._input.shape[0] if self._input.shape else None
        #: Whether the first dimension is free; None: to be tried.
        self._is_free: bool | None = False if isinstance(first, int) and first > 0 else None

    def _choose_output(self, name: str | None, known: Sequence[str]) -> str:
        if name is None and len(known) == 1:
            note = f'{self.where}: using the only output of {self.model}, "{known[0]}"'
            self.notes = [note]
            return known[0]
        if name is None or name not in known:
            asked = (
                f'no output "{name}".{did_you_mean(name, known)}'
                if name
                else ("several outputs: name the one to use.")
            )
            has = ", ".join(map(str, self._session.outputs))
            raise ConfigError(f"{self.where}: {self.model} has {asked} It has: {has}")
        return name

    def _choose_input(self, name: str | None) -> Port:
        inputs = {each.name: each for each in self._session.inputs}
        images = [each for each in inputs if each not in (SIZE_INPUT, SCALE_INPUT)]
        if name is None and len(images) == 1:
            return inputs[images[0]]
        if name is None or name not in inputs:
            asked = f'no input "{name}".{did_you_mean(name, images)}' if name else "several inputs"
            raise ConfigError(
                f"{self.where}: {self.model} has {asked} input.name chooses one of: "
                f"{', '.join(map(str, inputs.values()))}"
            )
        return inputs[name]

    def run(self, array: np.ndarray) -> list[np.ndarray]:
        """Returns the outputs, float32 or integers, for an input. Raises DataError if it fails."""
        given = np.ascontiguousarray(array, self._input.dtype)
        feeds = {self._input.name: given, **self._more_inputs(given)}
        wanted = list(dict.fromkeys(self.outputs))
        try:
            outputs = self._session.run(feeds, wanted)
        except Exception as error:  # runtimes have no base class for their errors
            raise DataError(
                f"{self.where}: {self.model} fails on an input of shape {given.shape}: "
                f"{first_line(error)}"
            ) from None
        by_name = dict(zip(wanted, (_plain(np.asarray(each)) for each in outputs), strict=True))
        return [by_name[name] for name in self.outputs]

    def _more_inputs(self, images: np.ndarray) -> dict[str, np.ndarray]:
        is_nhwc = images.shape[-1] == 3
        sides = images.shape[-3:-1] if is_nhwc else images.shape[-2:]
        values = {SIZE_INPUT: sides, SCALE_INPUT: [1.0, 1.0]}
        return {
            port.name: np.tile(np.array(values[port.name], port.dtype), (len(images), 1))
            for port in self._session.inputs
            if port.name in values and port is not self._input
        }

    def run_rows(self, rows: np.ndarray, batch: int) -> list[np.ndarray]:
        """Returns outputs (n, ...) for rows (n, ...), at most ``batch`` of them at once.

        One at a time where the network was exported for one: where the first rows together give
        something else than each alone. Raises DataError.
        """
        if self._is_free is None and batch > 1 and len(rows) > 1:
            self._is_free = self._takes_several(rows[:2])
        size = batch if self._is_free else 1
        parts = [self._rows_of(rows[start : start + size]) for start in range(0, len(rows), size)]
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    def _rows_of(self, images: np.ndarray) -> list[np.ndarray]:
        """Returns outputs (n, ...); a vector of one image may lack the first dimension."""
        outputs, count = self.run(images), len(images)
        if count == 1:
            outputs = [each[None] if each.ndim == 1 else each for each in outputs]
        for name, output in zip(self.outputs, outputs, strict=True):
            if not output.ndim or len(output) != count:
                raise DataError(
                    f"{self.where}: the output {name} of {self.model} has the shape "
                    f"{output.shape} for {count} images or clips; expected ({count}, ...). "
                    "Are the size and the number of frames those of the network?"
                )
        return outputs

    def _takes_several(self, pair: np.ndarray) -> bool:
        try:
            together = self.run(pair)
        except DataError:
            return False
        alone = zip(self.run(pair[:1]), self.run(pair[1:]), strict=True)
        return all(
            both.shape == (2, *first.shape[1:]) and _are_close(both, np.concatenate([first, last]))
            for both, (first, last) in zip(together, alone, strict=True)
        )


def _are_close(one: np.ndarray, other: np.ndarray) -> bool:
    limit = SAME * max(float(np.abs(other).max(initial=0)), 1e-6)
    return one.shape == other.shape and bool(
        np.allclose(one, other, rtol=0, atol=limit, equal_nan=True)
    )


def _session(model: str, where: str, threads: int) -> Session:
    files = model_files(model, where)
    if files.runtime == ONNX:
        from paddlevideo.extract.onnx_network import OnnxSession

        return OnnxSession(files.paths[0], where, threads)
    if files.runtime == PADDLE:
        from paddlevideo.extract.paddle_networks.inference import PaddleSession

        return PaddleSession(files.paths[0], files.paths[1], where, threads)
    from paddlevideo.extract.paddle_networks.efficientnet import shared_session

    return shared_session(files.paths[0], model, threads)


def first_line(error: Exception) -> str:
    """Returns the first line of a runtime's error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" -=")]
    return lines[0][:MESSAGE] if lines else type(error).__name__


def _plain(output: np.ndarray) -> np.ndarray:
    return output.astype(np.float32, copy=False) if output.dtype.kind == "f" else output
