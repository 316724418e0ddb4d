"""Detects the layout of dense weights: (inputs, outputs), or PyTorch's (outputs, inputs).

A square weight fits both and could silently be loaded wrong, so the others decide for all: a dense
layer has as many outputs as its bias has values. Embeddings and word decoders are the same in both.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from paddle import nn

from paddlevideo.modeling.bert_weights import are_hugging_face, are_paddlenlp, is_bert
from paddlevideo.modeling.weight_files import WeightFile
from paddlevideo.utils.errors import WeightsError

log = logging.getLogger("paddlevideo")

_PYTORCH_METADATA, _PADDLE_METADATA = ("pt",), ("pd", "paddle", "np", "numpy")


@dataclass(frozen=True)
class Shapes:
    """For each layout, the first dense weight whose shape only it allows, or None."""

    paddle: str | None
    pytorch: str | None


def in_paddle_layout(
    model: nn.Layer, state: Mapping[str, np.ndarray], file: WeightFile
) -> dict[str, np.ndarray]:
    """Returns ``state`` (by the model's names), with dense weights transposed if necessary.

    Raises WeightsError if the file mixes both layouts.
    """
    dense = {
        name: list(layer.weight.shape)
        for name, layer in dense_layers(model).items()
        if f"{name}.weight" in state and state[f"{name}.weight"].ndim == 2
    }
    if not dense or not is_pytorch_layout(layouts_by_shape(dense, state), file):
        return dict(state)
    log.info(
        "%s: the %d dense weights are (outputs, inputs), as PyTorch stores them: all are "
        "transposed",
        file.path,
        len(dense),
    )
    transposed = {
        f"{name}.weight": np.ascontiguousarray(state[f"{name}.weight"].T) for name in dense
    }
    return {**state, **transposed}


def dense_layers(model: nn.Layer) -> dict[str, nn.Linear]:
    """Returns the model's dense layers by name."""
    return {name: layer for name, layer in model.named_sublayers() if isinstance(layer, nn.Linear)}


def layouts_by_shape(dense: Mapping[str, list[int]], state: Mapping[str, np.ndarray]) -> Shapes:
    """Returns what the weights that are not square say about the layout.

    ``dense``: the shapes of the model's dense weights, by the names of their layers.
    """
    first: dict[bool, str] = {}
    for name, expected in dense.items():
        shape, bias = state[f"{name}.weight"].shape, state.get(f"{name}.bias")
        outputs = len(bias) if bias is not None and bias.ndim == 1 else expected[1]
        if shape[0] != shape[1] and outputs in shape:
            first.setdefault(shape[0] == outputs, f"{name}.weight {list(shape)}")
    return Shapes(paddle=first.get(False), pytorch=first.get(True))


def is_pytorch_layout(shapes: Shapes, file: WeightFile) -> bool:
    """Returns whether dense weights are (outputs, inputs). Raises WeightsError."""
    if shapes.paddle and shapes.pytorch:
        raise WeightsError(
            f"{file.path}: some dense weights are (inputs, outputs), as {shapes.paddle}, others "
            f"(outputs, inputs), as {shapes.pytorch}. Convert all of them or none"
        )
    if shapes.pytorch and file.is_pickle:
        raise WeightsError(
            f"{file.path}: dense weights are (outputs, inputs), as PyTorch stores them, but a "
            f".pdparams has (inputs, outputs): {shapes.pytorch}. Square ones would be loaded "
            "transposed. Write it as .safetensors, whose layout is recognized: "
            f"{conversion(file)}"
        )
    if shapes.paddle or shapes.pytorch:
        return shapes.pytorch is not None
    return _is_pytorch_by_names(file)


def _is_pytorch_by_names(file: WeightFile) -> bool:
    """Like ``is_pytorch_layout``, from metadata and names, if all dense weights are square."""
    made_by, names = file.metadata.get("format"), list(file.arrays)
    if not file.is_pickle and made_by in (*_PYTORCH_METADATA, *_PADDLE_METADATA):
        return made_by in _PYTORCH_METADATA
    if are_paddlenlp(names) or not is_bert(names):
        return False
    is_pytorch = not file.is_pickle
    if is_pytorch != are_hugging_face(names):
        log.warning(
            "%s: all dense weights are square, so they may be (inputs, outputs) or PyTorch's "
            "(outputs, inputs). Assuming the %s, as is usual in a %s. A .safetensors can state "
            "it in its metadata: {'format': 'pt'} or {'format': 'paddle'}",
            file.path,
            "latter" if is_pytorch else "former",
            ".safetensors" if is_pytorch else ".pdparams",
        )
    return is_pytorch


def conversion(file: WeightFile) -> str:
    """Returns a command that converts a ``.pdparams`` in PyTorch's layout to safetensors."""
    target = file.path.with_suffix(".safetensors")
    return (
        'python -c "import paddle; from safetensors.numpy import save_file; '
        f"d = paddle.load('{file.path}', return_numpy=True); save_file(d, '{target}', "
        "{'format': 'pt'})\""
    )
