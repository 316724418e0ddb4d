"""Inference models of Paddle that the tests export: they give what their networks give directly."""

import numpy as np
import paddle
import pytest

from paddlevideo.extract.actions import FrameMotion, NetworkMotion
from paddlevideo.extract.detectors import CropRegions, MapRegions, NetworkRegions
from paddlevideo.extract.images import clip_batch, image_batch
from paddlevideo.extract.models import model_files
from paddlevideo.extract.network import Network
from paddlevideo.extract.schema import (
    ActionOutputs,
    ClipInput,
    CropVectors,
    FrameActions,
    ImageInput,
    MapVectors,
    NetworkActions,
    PaddleDetector,
    RowsOutputs,
)
from paddlevideo.loader.store import FeatureStore
from paddlevideo.utils.errors import ConfigError, DataError
from tests.extract import paddle_samples, samples
from tests.extract.paddle_samples import FORMS, Classifier, Map, Rootless, VideoNetwork, export

RED, BLUE = np.zeros((96, 128, 3), np.uint8), np.zeros((96, 128, 3), np.uint8)
RED[:] = (0, 0, 230)
BLUE[:] = (200, 0, 10)
WHOLE, LEFT, RIGHT = [0, 0, 128, 96], [0, 0, 64, 96], [64, 0, 128, 96]
IMAGES = [-1, 3, 16, 16]


@pytest.fixture(params=FORMS)
def form(request):
    return request.param


def random(*shape):
    return np.random.default_rng(3).random(shape, np.float32)


def test_a_network_gives_what_it_gives_directly(tmp_path, form):
    layer = Classifier()
    export(layer, tmp_path / "c" / "inference", form, IMAGES)
    images = random(5, 3, 16, 16)
    expected = [each.numpy() for each in layer(paddle.to_tensor(images))]
    # The folder, the program and the parameters name the same network.
    for model in ("c", f"c/inference{form}", "c/inference.pdiparams"):
        network = Network(str(tmp_path / model), [], "key")
        assert len(network.outputs) == 2
        for batch in (1, 2, 16):
            for output, wanted in zip(network.run_rows(images, batch), expected, strict=True):
                np.testing.assert_allclose(output, wanted, atol=1e-5)
    first = Network(str(tmp_path / "c"), network.outputs[1:], "key")
    np.testing.assert_allclose(first.run(images)[0], expected[1], atol=1e-5)


def test_the_only_output_needs_no_name_and_is_told(tmp_path, form):
    model = export(Classifier(single=True), tmp_path / "m", form, IMAGES)
    network = Network(str(model), [None], "regions.vectors.model")
    (note,) = network.notes
    assert (
        note == f'regions.vectors.model: using the only output of {model}, "{network.outputs[0]}"'
    )
    crops = CropRegions(CropVectors(str(model), ImageInput([16, 16])))
    assert crops.describe([(RED, np.array([LEFT, RIGHT, WHOLE]))]).vectors.shape == (3, 4)
    several = export(Classifier(), tmp_path / "several", form, IMAGES)
    with pytest.raises(ConfigError, match="has several outputs: name the one to use. It has: "):
        Network(str(several), [None], "key")


def detector(path, form, fixed=False, **more):
    model = path.with_suffix(form)
    if not model.exists():  # another export may have other names
        paddle_samples.export_detector(path, form, fixed)
    given = {"classes": ["warm", "cold"], "score_threshold": 0.02, **more}
    return NetworkRegions(PaddleDetector(str(model), ImageInput([48, 64]), **given))


@pytest.mark.parametrize("fixed", [False, True])
def test_boxes_as_paddledetection_exports_them(tmp_path, form, fixed):
    found = detector(tmp_path / "d", form, fixed)
    red, blue, again = found.find([RED, BLUE, RED])
    np.testing.assert_allclose(red.boxes, [LEFT], atol=1e-3)
    np.testing.assert_allclose(blue.boxes, [RIGHT, LEFT], atol=1e-3)
    np.testing.assert_allclose(red.scores, [230 / 255], atol=1e-3)
    np.testing.assert_allclose(blue.scores, [200 / 255, 10 / 255], atol=1e-3)
    np.testing.assert_array_equal(again.boxes, red.boxes)
    assert blue.classes.argmax(axis=1).tolist() == [1, 2], "cold, and none: hardly warm"
    assert found.find([BLUE])[0].scores == pytest.approx(blue.scores)
    (note,) = found.network.notes
    rows, counts = found.network.outputs
    assert f'are the output "{rows}"' in note and f'number per image: "{counts}"' in note


@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_boxes_are_those_of_the_frame_whatever_the_fit(tmp_path, fit):
    shape = ImageInput([48, 64], fit=fit)
    model = str(paddle_samples.export_detector(tmp_path / "d", FORMS[0]))
    settings = PaddleDetector(model, shape, classes=["warm", "cold"], score_threshold=0.1)
    wide = np.concatenate([RED, RED], axis=1)  # 96 x 256
    (found,) = NetworkRegions(settings).find([wide])
    # pad: a quarter of the scale, the lower half is black; crop: half of it, a side is cut off.
    expected = {"pad": [0, 0, 128, 96], "crop": [64, 0, 128, 96]}[fit]
    np.testing.assert_allclose(found.boxes, [expected], atol=1e-3)


def test_named_rows_are_taken_as_named(tmp_path, form):
    found = detector(tmp_path / "d", form)
    rows, counts = found.network.outputs
    named = detector(tmp_path / "d", form, outputs=RowsOutputs(rows, counts))
    alone = detector(tmp_path / "d", form, outputs=RowsOutputs(rows))
    for each in (named, alone):
        for ours, theirs in zip(each.find([RED, BLUE]), found.find([RED, BLUE]), strict=True):
            np.testing.assert_array_equal(ours.boxes, theirs.boxes)
        assert not each.network.notes
    swapped = detector(tmp_path / "d", form, outputs=RowsOutputs(counts, rows))
    with pytest.raises(DataError, match=rf"{counts} has the shape \(1,\), where rows \(n, 6\)"):
        swapped.find([RED])


def test_a_detector_without_rows_lists_its_outputs(tmp_path, form):
    model = export(Classifier(), tmp_path / "c", form, IMAGES)
    found = NetworkRegions(PaddleDetector(str(model), ImageInput([16, 16]), classes=["a"]))
    with pytest.raises(DataError, match=r"no output has rows of class, .* are: .* \(1, 8\), .*4\)"):
        found.find([RED])


def test_crops_have_the_classes_of_their_network(tmp_path, form):
    layer = Classifier()
    model = str(export(layer, tmp_path / "c", form, IMAGES))
    features, scores = Network(model, [], "key").outputs
    shape = ImageInput([16, 16])
    settings = CropVectors(model, shape, features, scores, list("abcd"), batch=2)
    crops = CropRegions(settings)
    vectors, classes = crops.describe([(RED, np.array([LEFT, WHOLE])), (BLUE, np.array([RIGHT]))])
    images = image_batch([RED[:, :64], RED, BLUE[:, 64:]], shape)
    wanted, shares = (each.numpy() for each in layer(paddle.to_tensor(images)))
    np.testing.assert_allclose(vectors, wanted, atol=1e-5)
    np.testing.assert_allclose(classes, np.pad(shares, ((0, 0), (0, 1))), atol=1e-5)
    assert crops.names == ["a", "b", "c", "d", "none"]
    logits = CropRegions(CropVectors(model, shape, features, features))
    _, classes = logits.describe([(RED, np.array([WHOLE]))])
    np.testing.assert_allclose(classes.sum(), 1, rtol=1e-5)
    assert classes[0, :-1].argmax() == wanted[1].argmax()
    wrong = CropRegions(CropVectors(model, shape, features, scores, list("abc")))
    with pytest.raises(DataError, match=f"4 scores of the output {scores}, but 3 class names"):
        wrong.describe([(RED, np.array([WHOLE]))])


def test_a_map_of_several_frames(tmp_path, form):
    model = export(Map(), tmp_path / "m", form, [-1, 3, 48, 64])
    maps = MapRegions(MapVectors(str(model), ImageInput([48, 64])))
    rows = maps.describe([(RED, np.array([LEFT, RIGHT])), (BLUE, np.array([WHOLE]))]).vectors
    expected = np.array([[230, 0, 0], [230, 0, 0], [10, 0, 200]]) / 255
    np.testing.assert_allclose(rows, expected, atol=1e-3)


@pytest.mark.parametrize("batch", [1, 4])
def test_clips_as_paddlevideo_exports_its_networks(tmp_path, form, batch):
    layer = VideoNetwork()
    model = str(export(layer, tmp_path / "ppTSM", form, [-1, 4, 3, 16, 16]))
    shape = ClipInput([16, 16], layout="NTCHW")
    motion = NetworkMotion(NetworkActions(model, shape, classes=list("xyz"), batch=batch))
    assert len(motion.network.notes) == 1, "the only output is both"
    windows = [np.stack([motion.reduce(each)] * 4) for each in (RED, BLUE, RED)]
    vectors, classes = motion.describe(windows, 0.1)
    clips = np.concatenate([clip_batch(window, shape) for window in windows])
    expected = layer(paddle.to_tensor(clips)).numpy()
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert classes.tolist() == expected.argmax(axis=1).tolist()


def test_windows_by_a_network_that_sees_single_frames(tmp_path, form):
    layer = Classifier()
    model = str(export(layer, tmp_path / "c", form, IMAGES))
    features, scores = Network(model, [], "key").outputs
    shape = ImageInput([16, 16])
    settings = FrameActions(model, shape, ActionOutputs(features, scores), list("abcd"))
    motion = FrameMotion(settings)
    red, blue = (motion.reduce(each) for each in (RED, BLUE))
    windows = [np.stack([red, red, blue, blue]), np.stack([blue] * 4)]
    vectors, classes = motion.describe(windows, 0.1)
    rows, shares = (
        each.numpy() for each in layer(paddle.to_tensor(image_batch([red, blue], shape)))
    )
    np.testing.assert_allclose(vectors[0, :8], rows.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(vectors[0, 8:], rows[1] - rows[0], atol=1e-5)
    np.testing.assert_allclose(vectors[1], [*rows[1], *[0] * 8], atol=1e-5)
    assert classes.tolist() == [shares.mean(axis=0).argmax(), shares[1].argmax()]
    still = FrameMotion(FrameActions(model, shape, ActionOutputs(features), change=False))
    vectors, classes = still.describe(windows, 0.1)
    np.testing.assert_allclose(vectors, [rows.mean(axis=0), rows[1]], atol=1e-5)
    assert classes.tolist() == [-1, -1]


# ---------------------------------------------------------------------------- mistakes


def test_what_is_wrong_with_the_files_is_one_line(tmp_path, form):
    model = export(Classifier(), tmp_path / "m", form, IMAGES)
    with pytest.raises(ConfigError, match=r'key: .* has no output "scores".* It has: \w'):
        Network(str(model), ["scores"], "key")
    with pytest.raises(ConfigError, match=r'no input "picture".* one of: image$'):
        Network(str(model), [], "key", "picture")
    parameters = model.with_suffix(".pdiparams")
    moved = parameters.rename(tmp_path / "moved.pdiparams")
    if form == ".pdmodel":
        (tmp_path / "m.json").unlink(missing_ok=True)
    for name in (str(model), str(parameters)):
        with pytest.raises(ConfigError, match=r"key: \S+m.pdiparams is missing: an exported model"):
            Network(name, [], "key")
    moved.rename(parameters)
    parameters.write_bytes(parameters.read_bytes()[:100])
    with pytest.raises(ConfigError, match=r"m.pdiparams are not a network that Paddle .* can run"):
        Network(str(model), [], "key")
    model.write_text("<html>not found")
    with pytest.raises(ConfigError, match="not a program that Paddle exported, but an HTML page"):
        Network(str(model), [], "key")


def test_a_folder_must_hold_one_exported_model(tmp_path, form):
    (tmp_path / "notes.json").write_text("{}")
    with pytest.raises(ConfigError, match="contains no exported model .* It contains notes.json"):
        model_files(str(tmp_path), "key")
    for name in ("a", "b"):
        export(Map(), tmp_path / name, form, [-1, 3, 16, 16])
    with pytest.raises(ConfigError, match=f"several exported models: .*a{form}, b{form}"):
        model_files(str(tmp_path), "key")


def test_paddle_2_is_told_of_programs_of_paddle_3(tmp_path, monkeypatch):
    for name in ("m.json", "m.pdiparams"):
        (tmp_path / name).write_text("{}")
    monkeypatch.setattr(paddle, "__version__", "2.6.2")
    with pytest.raises(ConfigError, match=r"a program of Paddle 3, which Paddle 2\.6\.2 cannot"):
        Network(str(tmp_path / "m.json"), [], "key")


def test_an_input_of_another_size_fails_in_one_line(tmp_path, form):
    model = export(Classifier(), tmp_path / "m", form, IMAGES)
    with pytest.raises(DataError, match=r"key: .* fails on an input of shape \(1, 4, 16, 16\): "):
        Network(str(model), [], "key").run(random(1, 4, 16, 16))


@pytest.mark.parametrize("frames, windows", [(8, 1), (6, 2), (5, 1)])
def test_another_number_of_frames_is_one_line(tmp_path, form, frames, windows):
    """The network takes its frames for those of other clips: that must not pass."""
    model = export(VideoNetwork(), tmp_path / "m", form, [-1, 4, 3, 16, 16])
    motion = NetworkMotion(NetworkActions(str(model), ClipInput([16, 16], layout="NTCHW")))
    window = np.stack([motion.reduce(RED)] * frames)
    with pytest.raises(DataError, match="the number of frames|fails on an input of shape") as error:
        motion.describe([window] * windows, 0.1)
    assert "\n" not in str(error.value)


# ------------------------------------------------------------------------- the command


def paddle_yaml(folder, crops):
    """A YAML file with three networks in Paddle's form; ``crops``: the one for vectors."""
    form = FORMS[-1]
    paddle_samples.export_detector(folder / "detector" / "model", form)
    export(crops, folder / "crops" / "inference", form, IMAGES)
    export(VideoNetwork(), folder / "actions" / "ppTSM", form, [-1, 4, 3, 16, 16])
    text = f"""
_base_: extract/classical.yaml
regions:
  max_regions: 4
  detector:
    _replace_: True
    name: paddledetection
    model: {folder}/detector
    input: {{size: [48, 64]}}
    score_threshold: 0.1
    classes: [warm, cold]
  vectors:
    _replace_: True
    name: crops
    model: {folder}/crops
    input: {{size: [16, 16]}}
actions:
  frames: 4
  vectors:
    _replace_: True
    name: network
    model: {folder}/actions
    input: {{size: [16, 16], layout: NTCHW}}
"""
    (folder / "my.yaml").write_text(text)
    return folder / "my.yaml"


def test_videos_by_exported_networks(tmp_path, capfd):
    run = samples.Command(capfd, tmp_path / "c.store")
    config = paddle_yaml(tmp_path, Classifier(single=True))
    videos = samples.write_clips(tmp_path / "videos")
    code, out, err = run(videos, "-c", config)
    assert code == 0, err
    assert out.count("using the only output of") == 2 and "rows of boxes are the output" in out
    store = FeatureStore(tmp_path / "c.store")
    assert len(store) == 3 and store.manifest.vocabularies["region"] == ["warm", "cold", "none"]
    clip = store[0]
    assert clip.regions.shape == (4, 4) and clip.actions.shape[1] == 3
    halves = [[0, 0, 64, 96], [64, 0, 128, 96]]
    assert all(box in halves for box in clip.boxes[1:].tolist())
    code, out, _ = run(videos, "-c", config)
    assert code == 0 and "checked" in out


def test_what_is_not_a_number_fails_the_video(tmp_path, capfd):
    run = samples.Command(capfd, tmp_path / "c.store")
    videos = tmp_path / "videos"
    samples.write_video(videos / "dark.mp4", [np.full((96, 128, 3), 40, np.uint8)] * 6)
    samples.write_video(videos / "light.mp4", [np.full((96, 128, 3), 200, np.uint8)] * 6)
    code, _, err = run(videos, "-c", paddle_yaml(tmp_path, Rootless()))
    assert code == 1
    assert 'dark.mp4: failed: clip "dark": regions hold NaN or infinity: check the network' in err
    assert "light" not in err and len(FeatureStore(tmp_path / "c.store")) == 1


def test_a_damaged_program_ends_the_command_with_one_line(tmp_path, capfd):
    run = samples.Command(capfd, tmp_path / "c.store")
    config = paddle_yaml(tmp_path, Map())
    program = next((tmp_path / "crops").glob(f"*{FORMS[-1]}"))
    program.write_bytes(program.read_bytes()[:-200])
    code, _, err = run(samples.write_clips(tmp_path / "videos"), "-c", config)
    assert code == 2
    assert len(err.splitlines()) == 1 and "regions.vectors.model: " in err
    assert "are not a network that Paddle" in err and "export it again" in err
