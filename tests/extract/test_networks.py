"""ONNX networks that the tests export themselves: boxes, vectors and actions come out as made."""

import numpy as np
import pytest

from paddlevideo.extract.actions import NetworkMotion
from paddlevideo.extract.detectors import CropRegions, MapRegions, NetworkRegions
from paddlevideo.extract.extractor import Extractor
from paddlevideo.extract.images import fitted, image_batch, pooled, to_frame, to_input
from paddlevideo.extract.network import Network
from paddlevideo.extract.schema import (
    ActionOutputs,
    BoxesDetector,
    BoxesOutputs,
    ClipInput,
    CropVectors,
    ImageInput,
    MapVectors,
    NetworkActions,
    PicodetDetector,
    PicodetOutputs,
)
from paddlevideo.extract.settings import load_settings
from paddlevideo.utils.errors import ConfigError, DataError
from tests.extract import samples

FRAME = np.zeros((96, 128, 3), np.uint8)
FRAME[:, :64] = (0, 0, 255)  # red on the left
FRAME[:, 64:] = (255, 0, 0)
INPUT = ImageInput(size=[48, 64])
LEFT, RIGHT = [0, 0, 64, 96], [64, 0, 128, 96]


# ----------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
def test_boxes_go_to_the_input_and_back(fit):
    settings = ImageInput(size=[50, 50], fit=fit)
    boxes = np.array([[10.0, 20, 90, 70]])
    there = to_input(boxes, FRAME.shape, settings)
    np.testing.assert_allclose(to_frame(there, FRAME.shape, settings), boxes)
    # The edge between the colours lies where the mapping says.
    edge = to_input(np.array([[64.0, 0, 64, 0]]), FRAME.shape, settings)[0, 0]
    picture = fitted(FRAME, settings)
    assert picture.shape == (50, 50, 3)
    row = picture[10].astype(int)
    assert row[round(edge) - 3, 2] > 200 and row[round(edge) + 3, 0] > 200
    if fit == "pad":
        assert (picture[40:] == 0).all(), "96 x 128 leaves room below"


def test_pictures_are_normalised_in_the_order_that_is_asked_for():
    settings = ImageInput(size=[4, 4], scale=1.0, mean=[255, 0, 0], std=[1, 1, 5])
    (plane,) = image_batch([FRAME[:, :64]], settings)
    assert plane.shape == (3, 4, 4) and plane[:, 0, 0].tolist() == [0, 0, 0]
    (plane,) = image_batch([FRAME[:, 64:]], settings)
    assert plane[:, 0, 0].tolist() == [-255, 0, 51]
    bgr = ImageInput(size=[4, 4], scale=1.0, colour="bgr", layout="NHWC")
    assert image_batch([FRAME[:, 64:]], bgr)[0, 0, 0].tolist() == [255, 0, 0]


def test_a_map_is_averaged_in_a_box():
    plane = np.zeros((2, 4, 4), np.float32)
    plane[0, :, :2], plane[1] = 1.0, np.arange(4)[:, None]
    rows = pooled(plane, np.array([[0, 0, 2, 4], [2, 0, 4, 4], [0, 3, 4, 4], [1, 1, 1, 1]]), 8)
    np.testing.assert_allclose(rows[:, 0], [1 - 1 / 64, 1 / 64, 0.5, 1.0], atol=0.05)
    np.testing.assert_allclose(rows[:3, 1], [1.5, 1.5, 2.9], atol=0.15)


# ----------------------------------------------------------------------------- networks


def test_a_network_that_is_not_as_named_says_what_it_is(tmp_path):
    model = samples.mean_network(tmp_path / "m.onnx")
    with pytest.raises(
        ConfigError, match=r'no output "feature". Did you mean "features"\? It has: f'
    ):
        Network(model, ["feature"], "key")
    with pytest.raises(ConfigError, match=r'no input "picture".* one of: image \['):
        Network(model, ["features"], "key", "picture")
    with pytest.raises(DataError, match="key: .* fails on an input of shape"):
        Network(model, ["features"], "key").run(np.zeros((1, 3, 9, 9)))
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(ConfigError, match="key: .*bad.onnx is not an ONNX model that can be run"):
        Network(str(tmp_path / "bad.onnx"), [], "key")


def test_a_network_of_several_inputs_needs_a_name(tmp_path):
    inputs = {"a": [1, 3, 4, 4], "b": [1, 3, 4, 4]}
    model = samples.export(tmp_path / "m.onnx", [("Add", ["a", "b"], "c", {})], inputs, ["c"])
    with pytest.raises(ConfigError, match="several inputs"):
        Network(model, ["c"], "key")


def test_without_onnxruntime_the_line_to_install_it_is_told(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(Exception, match="pip install onnxruntime"):
        Network("m.onnx", [], "regions.detector.model")


def test_crops_are_seen_one_by_one(tmp_path):
    model = samples.mean_network(tmp_path / "m.onnx")
    vectors = CropRegions(CropVectors(model, ImageInput(size=[16, 16]), "features", batch=2))
    rows = vectors.describe([(FRAME, np.array([LEFT, RIGHT, [0, 0, 128, 96]]))]).vectors
    np.testing.assert_allclose(rows, [[1, 0, 0], [0, 0, 1], [0.5, 0, 0.5]], atol=0.02)
    wide = CropRegions(CropVectors(model, ImageInput(size=[16, 16]), "features", margin=0.5))
    assert 0.2 < wide.describe([(FRAME, np.array([[0, 0, 64, 96]]))]).vectors[0, 2] < 0.45


def test_a_map_is_pooled_in_the_boxes(tmp_path):
    vectors = MapRegions(MapVectors(samples.map_network(tmp_path / "m.onnx"), INPUT, "map"))
    rows = vectors.describe([(FRAME, np.array([[0, 0, 48, 96], [80, 10, 128, 60]]))]).vectors
    np.testing.assert_allclose(rows, [[1, 0, 0], [0, 0, 1]], atol=0.02)
    small = ImageInput(size=[16, 16])
    flat = MapVectors(samples.mean_network(tmp_path / "f.onnx"), small, "features")
    assert MapRegions(flat).describe([(FRAME, np.array([LEFT]))]).vectors.shape == (1, 3)
    vector = [("ReduceMean", ["image"], "v", {"axes": [2, 3], "keepdims": 0})]
    model = samples.export(tmp_path / "v.onnx", vector, {"image": [1, 3, 16, 16]}, ["v"])
    with pytest.raises(DataError, match=r"v has shape \(1, 3\), where a map"):
        MapRegions(MapVectors(model, small, "v")).describe([(FRAME, np.array([LEFT]))])


BOXES = [[0, 0, 32, 48], [1, 0, 32, 48], [32, 0, 64, 48], [5, 5, 5, 9]]
SCORES = [[0.9, 0.1], [0.8, 0.0], [0.2, 0.6], [1.0, 0.0]]


def detector(tmp_path, boxes=BOXES, scores=SCORES, vectors=None, classes=None, **more):
    model = samples.boxes_network(tmp_path / "d.onnx", boxes, scores, vectors, classes)
    names = {
        name: name
        for name, rows in (("vectors", vectors), ("classes", classes))
        if rows is not None
    }
    outputs = BoxesOutputs("boxes", "scores", **names)
    return NetworkRegions(BoxesDetector(model=model, input=INPUT, outputs=outputs, **more))


@pytest.mark.parametrize(
    "boxes, more",
    [
        (BOXES, {}),
        ([BOXES], {}),
        (np.array(BOXES)[:, [1, 0, 3, 2]], {"box_format": "yxyx"}),
        (np.array(BOXES) / [64, 48, 64, 48], {"box_units": "relative"}),
        (
            [[16, 24, 32, 48], [16.5, 24, 31, 48], [48, 24, 32, 48], [5, 7, 0, 4]],
            {"box_format": "cxcywh"},
        ),
    ],
)
def test_boxes_of_a_detector_in_all_its_forms(tmp_path, boxes, more):
    found = detector(tmp_path, boxes, classes=None, **more).find([FRAME])[0]
    np.testing.assert_allclose(found.boxes, [LEFT, RIGHT], atol=1e-3)
    np.testing.assert_allclose(found.scores, [0.9, 0.6])
    assert found.classes.shape == (2, 3) and found.classes.argmax(axis=1).tolist() == [0, 1]
    assert found.vectors is None


def test_scores_of_the_best_class_alone(tmp_path):
    given = {"scores": [0.9, 0.8, 0.6, 1.0], "classes": [0, 0, 1, -1]}
    model = samples.boxes_network(
        tmp_path / "d.onnx", BOXES, given["scores"], None, given["classes"]
    )
    outputs = BoxesOutputs("boxes", "scores", "classes")
    named = NetworkRegions(
        BoxesDetector(model=model, input=INPUT, outputs=outputs, classes=["cat", "dog"])
    )
    found = named.find([FRAME])[0]
    assert [named.names[row.argmax()] for row in found.classes] == ["cat", "dog"]
    assert named.whole(FRAME).tolist() == [[0, 0, 1]]
    with pytest.raises(DataError, match="give the class names"):
        NetworkRegions(BoxesDetector(model=model, input=INPUT, outputs=outputs)).find([FRAME])[0]
    one = NetworkRegions(
        BoxesDetector(model=model, input=INPUT, outputs=BoxesOutputs("boxes", "scores"))
    )
    assert one.find([FRAME])[0].classes.shape[1] == 2, "one class, and none"


def test_vectors_of_the_detector_itself(tmp_path):
    vectors = np.arange(8).reshape(4, 2)
    found = detector(tmp_path, vectors=vectors).find([FRAME])[0]
    assert found.vectors.tolist() == [[0, 1], [4, 5]] and found.overall.tolist() == [3, 4]


@pytest.mark.parametrize(
    "given, message",
    [
        ({"scores": [0.5, 0.5, 0.5, 0.5], "class_names": ["a", "b"]}, "name the output with their"),
        ({"vectors": [[1, 2]]}, r"vectors \(1, 2\) for 4 boxes"),
        ({"scores": [0.5, 0.5], "classes": [0, 1], "class_names": ["a"]}, "2 scores, 2 classes, 4"),
        ({"class_names": ["a", "b", "c"]}, "scores of 2 classes, but 3 class names"),
    ],
)
def test_a_detector_that_does_not_fit_is_named(tmp_path, given, message):
    rows = {"scores": SCORES, "vectors": None, "classes": None, **given}
    names = rows.pop("class_names", None)
    model = samples.boxes_network(
        tmp_path / "d.onnx", BOXES, rows["scores"], rows["vectors"], rows["classes"]
    )
    extra = {key: key for key in ("vectors", "classes") if rows[key] is not None}
    outputs = BoxesOutputs("boxes", "scores", **extra)
    settings = BoxesDetector(model=model, input=INPUT, outputs=outputs, classes=names)
    with pytest.raises(DataError, match=message):
        NetworkRegions(settings).find([FRAME])[0]


def test_raw_heads_of_an_exported_network(tmp_path):
    """One stride of 16 on 48 x 64: the cell in the second row and third column finds a thing."""
    scores, distances = np.zeros((1, 12, 2)), np.zeros((1, 12, 4 * 4))
    scores[0, 6, 1] = 0.8
    distances[0, 6, [1, 5, 9, 13]] = 50  # one stride to each side
    constants = {"_s": scores, "_d": distances}
    nodes = [("Identity", ["_s"], "s", {}), ("Identity", ["_d"], "d", {})]
    model = samples.export(
        tmp_path / "p.onnx", nodes, {"image": [1, 3, 48, 64]}, ["s", "d"], constants
    )
    found = NetworkRegions(
        PicodetDetector(
            model=model,
            input=INPUT,
            outputs=PicodetOutputs(["s"], ["d"]),
            strides=[16],
            classes=["a", "b"],
        )
    ).find([FRAME])[0]
    # Centre (40, 24) of the input, 16 to each side; the frame is twice as large.
    np.testing.assert_allclose(found.boxes, [[48, 16, 112, 80]], atol=1e-3)
    assert found.classes[0].argmax() == 1 and found.scores[0] == pytest.approx(0.8)


@pytest.mark.parametrize("layout", ["NCTHW", "NTCHW", "NTHWC"])
def test_clips_are_laid_out_as_asked_for(tmp_path, layout):
    axis = {"NCTHW": [2, 3, 4], "NTCHW": [1, 3, 4], "NTHWC": [1, 2, 3]}[layout]
    sizes = {"C": 3, "T": 4, "H": 8, "W": 8, "N": 1}
    shape = [sizes[letter] for letter in layout]
    mean = ("ReduceMean", ["clip"], "v", {"axes": axis, "keepdims": 0})
    model = samples.export(tmp_path / "a.onnx", [mean], {"clip": shape}, ["v"])
    motion = NetworkMotion(
        NetworkActions(model, ClipInput([8, 8], layout=layout), ActionOutputs("v"))
    )
    window = np.stack([motion.reduce(FRAME[:, :64])] * 4)
    vectors, classes = motion.describe([window, window], 0.1)
    np.testing.assert_allclose(vectors, [[1, 0, 0]] * 2, atol=1e-5)
    assert classes.tolist() == [-1, -1]


def test_actions_have_classes(tmp_path):
    model = samples.action_network(tmp_path / "a.onnx")
    settings = NetworkActions(
        model, ClipInput([16, 16]), ActionOutputs("features", "scores"), ["red", "no"]
    )
    motion = NetworkMotion(settings)
    sides = [np.stack([motion.reduce(FRAME[:, part])] * 4) for part in (slice(64), slice(64, 128))]
    assert motion.describe(sides, 0.1)[1].tolist() == [0, 1]
    wrong = NetworkActions(model, ClipInput([16, 16]), ActionOutputs("features", "scores"), ["red"])
    with pytest.raises(DataError, match="2 scores of the output scores, but 1 class names"):
        NetworkMotion(wrong).describe(sides, 0.1)


def test_what_does_not_fit_is_told_before_the_first_video(tmp_path):
    model = samples.action_network(tmp_path / "a.onnx", frames=4)

    def vectors(model):
        shape = "input: {size: [16, 16]}, outputs: {vector: features}"
        return f"actions.vectors={{name: onnx, model: {model}, {shape}}}"

    def load(frames, model=model):
        return load_settings("classical.yaml", [vectors(model), f"actions.frames={frames}"])

    with pytest.raises(
        ConfigError, match=r"on a blank frame: .* input of shape \(1, 3, 5, 16, 16\)"
    ):
        Extractor(load(5))
    extractor = Extractor(load(4))
    assert len(extractor.description["actions"]["vectors"]["sha256"]) == 64
    moved = tmp_path / "moved.onnx"
    moved.write_bytes((tmp_path / "a.onnx").read_bytes())
    elsewhere = Extractor(load(4, moved))
    assert elsewhere.fingerprint("float16") == extractor.fingerprint("float16")
    assert extractor.fingerprint("float32") != extractor.fingerprint("float16")
