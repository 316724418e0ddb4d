"""Inference models of Paddle, as PaddleDetection, PaddleClas and PaddleVideo export them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import paddle
from paddle import inference

from paddlevideo.extract.network import Port, first_line
from paddlevideo.utils.errors import ConfigError

GPU_MEGABYTES = 512  # to begin with: Paddle takes more when it needs more


class PaddleSession:
    """A program and its parameters, on a GPU where Paddle can use one.

    Raises ConfigError where this Paddle cannot load them.
    """

    def __init__(self, program: Path, parameters: Path, where: str, threads: int) -> None:
        if program.suffix == ".json" and paddle.__version__.startswith("2."):
            raise ConfigError(
                f"{where}: {program} is a program of Paddle 3, which Paddle {paddle.__version__} "
                "cannot run: export the network with Paddle 2.6, as a .pdmodel, or install "
                "paddlepaddle>=3"
            )
        try:
            self._predictor = inference.create_predictor(_config(program, parameters, threads))
        except Exception as error:  # Paddle raises several kinds
            raise ConfigError(
                f"{where}: {program} and {parameters.name} are not a network that Paddle "
                f"{paddle.__version__} can run ({first_line(error)}). Copy both, or export it again"
            ) from None
        self.inputs = [Port(name) for name in self._predictor.get_input_names()]
        self.outputs = [Port(name) for name in self._predictor.get_output_names()]

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """Returns the named outputs. Raises an error of Paddle."""
        for name, array in feeds.items():
            self._predictor.get_input_handle(name).copy_from_cpu(array)
        self._predictor.run()
        return [self._predictor.get_output_handle(name).copy_to_cpu() for name in outputs]


def _config(program: Path, parameters: Path, threads: int) -> inference.Config:
    config = inference.Config(str(program), str(parameters))
    config.disable_glog_info()
    if paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count():
        device = paddle.device.get_device().partition(":")[2]  # gpu-only
        config.enable_use_gpu(GPU_MEGABYTES, int(device or 0))  # gpu-only
    else:
        config.disable_gpu()
        config.enable_mkldnn()
        config.set_cpu_math_library_num_threads(threads or os.cpu_count() or 1)
    return config
