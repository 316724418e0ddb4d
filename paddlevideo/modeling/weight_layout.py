"""Which way round a file stores dense weights: (inputs, outputs), or PyTorch's (outputs, inputs).

A square weight fits either way and would be loaded wrongly without notice, so the others decide
for all: the outputs of a dense layer are as many as its bias has numbers. Embeddings and word
decoders are the same in both.
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
    """What the shapes of dense weights say: the first weight of each layout, None if none is."""

    paddle: str | None
    pytorch: str | None


def in_paddle_layout(
    model: nn.Layer, state: Mapping[str, np.ndarray], file: WeightFile
) -> dict[str, np.ndarray]:
    """``state`` (by the model's names) with dense weights turned if ``file`` has PyTorch's layout.

    Raises WeightsError where the file contradicts itself, or nothing tells its layout.
    """
    dense = {
        name: list(layer.weight.shape)
        for name, layer in dense_layers(model).items()
        if f"{name}.weight" in state and state[f"{name}.weight"].ndim == 2
    }
    if not dense or not is_pytorch_layout(shapes_say(dense, state), file):
        return dict(state)
    log.info(
        "%s: the %d dense weights are (outputs, inputs), as PyTorch stores them: all are turned",
        file.path,
        len(dense),
    )
    turned = {f"{name}.weight": np.ascontiguousarray(state[f"{name}.weight"].T) for name in dense}
    return {**state, **turned}


def dense_layers(model: nn.Layer) -> dict[str, nn.Linear]:
    """The model's dense layers by name."""
    return {name: layer for name, layer in model.named_sublayers() if isinstance(layer, nn.Linear)}


def shapes_say(dense: Mapping[str, list[int]], state: Mapping[str, np.ndarray]) -> Shapes:
    """What follows from weights that are not square.

    ``dense``: the shapes that the model's dense weights have, by the names of their layers.
    """
    found: dict[bool, str] = {}
    for name, wanted in dense.items():
        shape, bias = state[f"{name}.weight"].shape, state.get(f"{name}.bias")
        outputs = len(bias) if bias is not None and bias.ndim == 1 else wanted[1]
        if shape[0] != shape[1] and outputs in shape:
            found.setdefault(shape[0] == outputs, f"{name}.weight {list(shape)}")
    return Shapes(paddle=found.get(False), pytorch=found.get(True))


def is_pytorch_layout(shapes: Shapes, file: WeightFile) -> bool:
    """Whether dense weights have to be turned. Raises WeightsError where that cannot be told."""
    if shapes.paddle and shapes.pytorch:
        raise WeightsError(
            f"{file.path}: some dense weights are (inputs, outputs), as {shapes.paddle}, others "
            f"(outputs, inputs), as {shapes.pytorch}. Convert all of them or none"
        )
    if shapes.pytorch and file.is_pickle:
        raise WeightsError(
            f"{file.path}: dense weights are (outputs, inputs), as PyTorch stores them, where a "
            f".pdparams holds (inputs, outputs): {shapes.pytorch}. Square ones would be loaded the "
            "wrong way round. Write it as .safetensors, whose weights are turned: "
            f"{conversion(file)}"
        )
    if shapes.paddle or shapes.pytorch:
        return shapes.pytorch is not None
    return _names_say_pytorch(file)


def _names_say_pytorch(file: WeightFile) -> bool:
    """What metadata and names say of a file whose dense weights are all square."""
    made_by, names = file.metadata.get("format"), list(file.arrays)
    if not file.is_pickle and made_by in (*_PYTORCH_METADATA, *_PADDLE_METADATA):
        return made_by in _PYTORCH_METADATA
    if are_paddlenlp(names) or not is_bert(names):
        return False
    is_pytorch = not file.is_pickle
    if is_pytorch != are_hugging_face(names):
        log.warning(
            "%s: all dense weights are square, so nothing tells whether they are (inputs, outputs) "
            "or PyTorch's (outputs, inputs). Taken for the %s, as is usual in a %s. A .safetensors "
            "can say it: metadata {'format': 'pt'} or {'format': 'paddle'}",
            file.path,
            "latter" if is_pytorch else "former",
            ".safetensors" if is_pytorch else ".pdparams",
        )
    return is_pytorch


def conversion(file: WeightFile) -> str:
    """A command that writes a ``.pdparams`` of PyTorch's layout as what it is."""
    target = file.path.with_suffix(".safetensors")
    return (
        'python -c "import paddle; from safetensors.numpy import save_file; '
        f"d = paddle.load('{file.path}', return_numpy=True); save_file(d, '{target}', "
        "{'format': 'pt'})\""
    )
