"""Small rendered videos, and small networks: what the tests of extraction look at."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from paddlevideo.cli import extract_features

HEIGHT, WIDTH, RATE = 96, 128, 10
RED, GREEN, BLUE = (30, 30, 210), (40, 170, 40), (200, 60, 20)


def picture(left: float, top: float, side: float = 32, colour=RED) -> np.ndarray:
    """A square with stripes, so that flow has something to hold on to, on grey."""
    frame = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    x, y, side = round(left), round(top), round(side)
    cv2.rectangle(frame, (x, y), (x + side, y + side), colour, -1)
    for line in (side * part // 4 for part in (1, 2, 3)):
        cv2.line(frame, (x + line, y), (x + line, y + side), (230, 230, 230), 2)
        cv2.line(frame, (x, y + line), (x + side, y + line), (230, 230, 230), 2)
    return frame


def moving(step: tuple[float, float], frames: int = 20, grow: float = 0.0, colour=RED):
    """Frames of a square that moves by ``step`` and grows by ``grow`` pixels a frame."""
    start = [16.0 if s > 0 else WIDTH - 60.0 if s < 0 else 48.0 for s in step]
    start[1] = 10.0 if step[1] > 0 else HEIGHT - 44.0 if step[1] < 0 else 32.0
    return [
        picture(
            start[0] + step[0] * n - grow * n / 2,
            start[1] + step[1] * n - grow * n / 2,
            32 + grow * n,
            colour,
        )
        for n in range(frames)
    ]


def write_video(path: Path, frames=None, codec: str = "mp4v", rate: float = RATE) -> Path:
    """Frames as a video file; a square that moves to the right by default."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = moving((2, 0)) if frames is None else frames
    size = (frames[0].shape[1], frames[0].shape[0])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, size)
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def write_stamped(path: Path, times, damaged: int = 0) -> Path:
    """A video whose frame n, as bright as 20 + 4 n, is shown from second ``times[n]`` on.

    ``damaged`` frames after the first one cannot be decoded.
    """
    if not hasattr(cv2, "VIDEOWRITER_PROP_PTS"):
        pytest.skip("this OpenCV writes no time stamps")
    frames = [np.full((48, 64, 3), min(20 + 4 * n, 250), np.uint8) for n in range(len(times))]
    plain = write_video(path.with_suffix(".plain.avi"), frames, "MJPG")
    reader = cv2.VideoCapture(str(plain), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    code, raw = cv2.VideoWriter_fourcc(*"MJPG"), [cv2.VIDEOWRITER_PROP_RAW_VIDEO, 1]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, 1000, (64, 48), raw)
    for number, second in enumerate(times):
        writer.set(cv2.VIDEOWRITER_PROP_PTS, round(second * 1000))
        packet = reader.read()[1]
        writer.write(np.zeros_like(packet) if 0 < number <= damaged else packet)
    writer.release()
    reader.release()
    plain.unlink()
    return path


def write_clips(folder: Path) -> Path:
    """Three videos of two seconds, in two folders and three kinds of files."""
    write_video(folder / "right.mp4")
    write_video(folder / "sub" / "up.avi", moving((0, -1.5)), "MJPG")
    write_video(folder / "z.mkv", moving((-2, 0), 40), "XVID", rate=20)
    return folder


class Command:
    """``tools/extract_features.py``: called with words, it gives exit code, output and errors."""

    def __init__(self, capfd, output: Path) -> None:
        self.capfd, self.output = capfd, output

    def __call__(self, *words, output: Path | None = None) -> tuple[int, str, str]:
        self.capfd.readouterr()
        arguments = [*words, "--output", output or self.output]
        code = extract_features.main([str(word) for word in arguments])
        return code, *self.capfd.readouterr()


# -------------------------------------------------------------------------- networks


def export(path: Path, nodes, inputs: dict, outputs: list[str], constants: dict | None = None):
    """An ONNX file: ``nodes`` are (operator, inputs, output, attributes)."""
    reason = "makes networks with the package onnx and runs them with onnxruntime: extra test"
    onnx = pytest.importorskip("onnx", reason=reason)
    pytest.importorskip("onnxruntime", reason=reason)
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    made = [helper.make_node(name, list(ins), [out], **more) for name, ins, out, more in nodes]
    graph = helper.make_graph(
        made,
        path.stem,
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [
            onnx.numpy_helper.from_array(np.asarray(array, np.float32), name)
            for name, array in (constants or {}).items()
        ],
    )
    # Old enough for every onnxruntime that is supported.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return str(path)


def mean_network(path: Path, size=(16, 16)) -> str:
    """Pictures to their mean colours: (n, 3, 1, 1), called ``features``."""
    inputs = {"image": ["n", 3, *size]}
    return export(path, [("GlobalAveragePool", ["image"], "features", {})], inputs, ["features"])


def map_network(path: Path, size=(48, 64)) -> str:
    """A frame to the mean colours of its 8 x 8 blocks: ``map`` (1, 3, h / 8, w / 8)."""
    pool = ("AveragePool", ["image"], "map", {"kernel_shape": [8, 8], "strides": [8, 8]})
    return export(path, [pool], {"image": [1, 3, *size]}, ["map"])


def boxes_network(path: Path, boxes, scores, vectors=None, classes=None) -> str:
    """A detector that gives the same boxes for every frame of 48 x 64."""
    given = {"boxes": boxes, "scores": scores, "vectors": vectors, "classes": classes}
    constants = {f"_{name}": rows for name, rows in given.items() if rows is not None}
    nodes = [("Identity", [name], name[1:], {}) for name in constants]
    outputs = [name[1:] for name in constants]
    return export(path, nodes, {"image": [1, 3, 48, 64]}, outputs, constants)


def action_network(path: Path, frames: int = 4, size=(16, 16)) -> str:
    """A clip to its mean colours, ``features`` (1, 3), and ``scores`` (1, 2): red, not red."""
    nodes = [
        ("GlobalAveragePool", ["clip"], "pooled", {}),
        ("Flatten", ["pooled"], "features", {}),
        ("MatMul", ["features", "weights"], "scores", {}),
    ]
    weights = [[1, -1], [-1, 1], [-1, 1]]  # red green blue
    inputs = {"clip": [1, 3, frames, *size]}
    return export(path, nodes, inputs, ["features", "scores"], {"weights": weights})
