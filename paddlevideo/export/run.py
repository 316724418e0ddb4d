"""Runs an exported model without its code and weights file.

Loading an export runs its programs: only load exports from sources whose code you would run.
The checksums detect damage, not malice. The programs are Paddle's and cannot call Python; a pickle
that Paddle would read beside them is rejected.

T words, V videos, P pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import Tensor

from paddlevideo.export.manifest import (
    ADVICE,
    MANIFEST,
    TensorInfo,
    check_files,
    read_manifest,
)
from paddlevideo.utils.cpu import tune_cpu
from paddlevideo.utils.errors import DataError, WeightsError

Tensors = dict[str, Tensor]


class ExportedModel:
    """Encodes captions and videos, and scores pairs of them, on Paddle's current device."""

    def __init__(self, folder: str | Path) -> None:
        """Raises WeightsError if a file is missing, damaged, or not for this Paddle."""
        tune_cpu()
        self.folder = Path(folder)
        self.manifest = read_manifest(folder)
        check_files(folder, self.manifest)
        self.sizes = self.manifest.sizes
        self._programs = {name: self._load(name) for name in self.manifest.programs}

    def _load(self, name: str) -> Any:
        path = self.folder / name
        if path.with_name(f"{name}.pdiparams.info").exists():
            raise WeightsError(
                f"{path}.pdiparams.info is not part of an export, and loading it would run code: "
                "remove it"
            )
        try:
            program = paddle.jit.load(str(path))
        except Exception as error:  # its type depends on the release
            raise WeightsError(
                f"{path}: Paddle {paddle.__version__} cannot load what Paddle "
                f"{self.manifest.paddle} exported ({error!s:.200}). {ADVICE}"
            ) from None
        program.eval()
        for key, parameter in program.named_parameters():
            if not bool(paddle.isfinite(parameter).all()):
                raise WeightsError(
                    f"{path}: the exported weight {key} holds NaN or infinity. Export the model "
                    "again, from weights that are finite"
                )
        return program

    def encode_captions(self, captions: Mapping[str, np.ndarray]) -> Tensors:
        """Returns the captions' tensors for ``margins``.

        ``text_ids``, ``token_type_ids`` and ``text_mask`` are (C, T) int64, T at most
        ``sizes.text_length``. Raises DataError.
        """
        if captions["text_ids"].shape[1] > self.sizes.text_length:
            raise DataError(
                f"captions of {captions['text_ids'].shape[1]} ids, but the exported model takes at "
                f"most {self.sizes.text_length}: truncate them"
            )
        return self._run("captions", captions)

    def encode_videos(self, videos: Mapping[str, np.ndarray]) -> Tensors:
        """Returns the videos' tensors for ``margins``, from the arrays that ``ClipReader`` reads.

        Raises DataError if their sizes are not the model's.
        """
        return self._run("videos", videos)

    def margins(self, captions: Tensors, videos: Tensors) -> np.ndarray:
        """Returns the match margins (P,) float32 of P pairs of a caption and a video."""
        inputs = {f"caption_{name}": x for name, x in captions.items()}
        inputs |= {f"video_{name}": x for name, x in videos.items()}
        return self._run("pairs", inputs)["margins"].numpy()

    def scores(self, caption: Tensors, videos: Tensors) -> np.ndarray:
        """Returns the scores (P,) of one caption with P videos, by which a test ranks them.

        A score is the margin plus, with a retrieval head, the weighted similarity of the vectors.
        """
        first = paddle.zeros([len(videos["state"])], dtype="int64")
        repeated = {name: paddle.index_select(x, first) for name, x in caption.items()}
        scores = self.margins(repeated, videos)
        similarity = self.manifest.similarity
        if similarity is None:
            return scores
        products = videos["vector"].numpy() @ caption["vector"].numpy()[0]
        return scores + np.float32(similarity.weight * similarity.scale) * products

    @paddle.no_grad()
    def _run(self, name: str, tensors: Mapping[str, Any]) -> Tensors:
        program = self.manifest.programs[name]
        inputs = []
        for info in program.inputs:
            if info.name not in tensors:
                raise DataError(f"{self.folder}: the program of {name} needs {info.name}")
            x = tensors[info.name]
            _check_shape(info, x.shape, name)
            inputs.append(
                x if isinstance(x, Tensor) else paddle.to_tensor(np.asarray(x, info.dtype))
            )
        outputs = self._programs[name](*inputs)
        outputs = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
        if len(outputs) != len(program.outputs):
            raise WeightsError(
                f"{self.folder}: the program of {name} returns {len(outputs)} tensors, but "
                f"{MANIFEST} names {len(program.outputs)}. {ADVICE}"
            )
        return {info.name: x for info, x in zip(program.outputs, outputs, strict=True)}


def _check_shape(info: TensorInfo, shape: Any, program: str) -> None:
    matches = len(shape) == len(info.shape) and all(
        expected in (-1, size) for size, expected in zip(shape, info.shape, strict=True)
    )
    if not matches:
        expected = ", ".join("any" if size == -1 else str(size) for size in info.shape)
        raise DataError(
            f"{info.name} has shape {tuple(shape)}, but the exported program of {program} takes "
            f"({expected})"
        )
