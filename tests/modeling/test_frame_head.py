"""The head that labels seconds: its layers, losses, class names and overlapping windows."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from paddlevideo.loader import MSTCNDataset, SampleReader
from paddlevideo.modeling import build_model, load_weights
from paddlevideo.modeling.heads import frames
from paddlevideo.modeling.overlap import OverlapMean
from paddlevideo.utils.errors import ConfigError, WeightsError
from tests.timeline_data import CLASSES, mstcn_keys, small_model, write_mstcn


@pytest.fixture
def folder(tmp_path):
    return write_mstcn(tmp_path)


@pytest.fixture
def model(folder):
    paddle.seed(0)
    return built(folder)


def built(folder, **head):
    model = build_model(small_model(**head))
    model.set_up_from(MSTCNDataset(**mstcn_keys(folder)))
    return model


def training_batch(folder, **keys):
    data = MSTCNDataset(**{**mstcn_keys(folder), **keys}).for_training()
    return SampleReader(data).batch(0, list(range(len(data))))


def test_a_layer_sees_its_neighbours_at_the_dilation_only():
    paddle.seed(0)
    layer = frames.DilatedLayer(16, 3, 0.0)
    layer.eval()
    x = paddle.randn([1, 12, 16])
    x.stop_gradient = False
    layer(x, paddle.ones([1, 12, 1]))[0, 6].sum().backward()
    seen = np.flatnonzero(np.abs(x.grad.numpy()[0]).sum(axis=-1))
    assert seen.tolist() == [3, 6, 9]


def test_masked_seconds_change_nothing(model, folder):
    model.eval()
    batch = training_batch(folder, max_action_num=20)
    row = next(i for i, mask in enumerate(batch["action_mask"]) if not mask.all())
    real = int(batch["action_mask"][row].sum())
    other = {**batch, "action_feat": batch["action_feat"].copy()}
    other["action_feat"][row, real:] = 5.0
    first, second = (model.head.predict(*model.encode(each))[row, :real] for each in (batch, other))
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_losses_are_sums_divided_by_the_counts(model, folder):
    model.eval()
    batch = training_batch(folder)
    counts = model.loss_counts(batch)
    assert counts["frame_loss"] == (batch["second_labels"] >= 0).sum()
    whole = model(batch)
    assert float(whole["loss"]) == pytest.approx(
        float(whole["frame_loss"]) + float(whole["smooth_loss"]), rel=1e-5
    )
    halves = [
        {key: rows[half] for key, rows in batch.items()} for half in (slice(0, 4), slice(4, None))
    ]
    parts = [model(half, counts) for half in halves]
    for name in ("frame_loss", "smooth_loss", "loss"):
        assert sum(float(part[name]) for part in parts) == pytest.approx(
            float(whole[name]), rel=1e-4
        )
    assert whole.accuracies["frame_accuracy"].total == counts["frame_loss"]


def test_a_batch_without_labels_has_a_loss_of_zero(model, folder):
    batch = training_batch(folder)
    batch["second_labels"][:] = -1
    assert set(model.loss_counts(batch).values()) == {0.0}
    assert float(model(batch)["loss"]) == 0


def test_the_smoothing_loss_by_hand():
    p = np.array([[[0.5, 0.5], [0.25, 0.75], [0.25, 0.75]]], np.float32)
    changes = np.log([0.25, 0.75]) - np.log([0.5, 0.5])
    expected = (changes**2).mean()
    ones = paddle.ones([1, 3])
    logits = paddle.to_tensor(np.log(p))
    assert float(frames.smoothing_loss(logits, ones)) == pytest.approx(expected, rel=1e-5)
    last = paddle.to_tensor([[0.0, 1.0, 1.0]])
    assert float(frames.smoothing_loss(logits, last)) == pytest.approx(0, abs=1e-6)
    far = paddle.to_tensor([[[0.0, 0.0], [0.0, 100.0]]])  # log p changes by 99 and 0.7
    limit = (frames.LARGEST_CHANGE**2 + np.log(2) ** 2) / 2
    assert float(frames.smoothing_loss(far, paddle.ones([1, 2]))) == pytest.approx(limit, rel=1e-3)


def test_a_video_in_one_window_is_the_plain_prediction(model, folder):
    model.eval()
    data = MSTCNDataset(**{**mstcn_keys(folder), "max_action_num": 40})
    batch = SampleReader(data).batch(0, [0, 2])
    labels = model.predict(batch, None)["labels"]
    assert [len(each) for each in labels] == [23, 40]
    ((_, arrays),) = batch["timeline"][1].batches(8)
    plain = model.head.predict(*model.encode(arrays))[0].argmax(axis=-1)
    np.testing.assert_array_equal(labels[1], plain)


def test_the_number_of_windows_at_once_changes_nothing(folder):
    labels = []
    for size in (1, 8):
        paddle.seed(0)
        model = built(folder, window_batch=size)
        model.eval()
        batch = SampleReader(MSTCNDataset(**mstcn_keys(folder))).batch(0, [0, 1, 2])
        labels.append(model.predict(batch, None)["labels"])
    for first, second in zip(*labels, strict=True):
        np.testing.assert_array_equal(first, second)


def test_overlapping_windows_are_averaged():
    rng = np.random.default_rng(0)
    starts, length = [0, 3, 6, 8], 5
    windows = rng.random((4, length, 2))
    total, count = np.zeros((13, 2)), np.zeros((13, 1))
    mean, parts = OverlapMean(), []
    for start, rows in zip(starts, windows, strict=True):
        total[start : start + length] += rows
        count[start : start + length] += 1
        parts.append(mean.add(start, rows))
    parts.append(mean.rest())
    assert [len(part) for part in parts] == [0, 3, 3, 2, 5]
    np.testing.assert_allclose(np.concatenate(parts), total / count)


# ------------------------------------------------------------------------ class names


def test_class_names_travel_with_the_weights(model, folder, tmp_path):
    path = tmp_path / "model.pdparams"
    paddle.save(model.to_released(model.state_dict()), str(path))
    model.eval()
    other = build_model(small_model(), blank=True)
    load_weights(other, path, for_test=True)
    other.eval()
    assert other.head.names == CLASSES
    batch = SampleReader(MSTCNDataset(**mstcn_keys(folder))).batch(0, [1])
    first, second = (each.predict(batch, None)["labels"][0] for each in (model, other))
    np.testing.assert_array_equal(first, second)


def test_other_class_names_are_refused(model, folder, tmp_path):
    path = tmp_path / "model.pdparams"
    paddle.save(model.to_released(model.state_dict()), str(path))
    other = build_model(small_model())
    load_weights(other, path)
    mapping = folder / "mapping.txt"
    mapping.write_text(mapping.read_text().replace("stir", "eat"))
    with pytest.raises(WeightsError, match='has "eat_soup" as class 2, but the weights "stir_soup'):
        other.set_up_from(MSTCNDataset(**mstcn_keys(folder)))
    mapping.write_text("0 background\n1 cut\n")
    with pytest.raises(WeightsError, match="has 2 classes, but the weights have 4"):
        other.set_up_from(MSTCNDataset(**mstcn_keys(folder)))
    with pytest.raises(ConfigError, match="dict has no classes"):
        other.set_up_from({})


def test_a_head_missing_from_the_weights_fails_a_test_but_not_training(model, folder, tmp_path):
    path = tmp_path / "backbone.pdparams"
    state = model.to_released(model.state_dict())
    kept = {name: x for name, x in state.items() if not name.startswith("head.")}
    paddle.save(kept, str(path))
    other = built(folder)
    load_weights(other, path)
    with pytest.raises(WeightsError, match=r"lack \d+ parameters.*head\."):
        load_weights(other, path, for_test=True)
    nameless = build_model(small_model())
    with pytest.raises(ConfigError, match=r"MODEL\.head has no classes yet"):
        nameless(training_batch(folder))


def test_the_mean_keeps_no_more_than_a_window():
    mean, longest, seconds = OverlapMean(), 0, 0
    for start in range(0, 1000, 6):
        seconds += len(mean.add(start, np.ones((10, 3))))
        longest = max(longest, len(mean._count))
    assert longest == 10
    assert seconds + len(mean.rest()) == 996 + 10


def test_members_are_averaged(folder):
    paddle.seed(0)
    model = built(folder, members=3)
    model.eval()
    batch = training_batch(folder)
    states, tensors = model.encode(batch)
    every = model.head.logits(states, tensors["action_mask"])
    assert [len(stages) for stages in every] == [2, 2, 2]
    last = [F.softmax(stages[-1], axis=-1).numpy() for stages in every]
    assert np.abs(last[0] - last[1]).max() > 0.01
    np.testing.assert_allclose(model.head.predict(states, tensors), np.mean(last, 0), atol=1e-6)
