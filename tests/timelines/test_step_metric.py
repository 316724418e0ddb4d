"""The metric of steps: recall, orders, files, the page, and scores from ActBERT's matching."""

from __future__ import annotations

import json

import numpy as np
import paddle
import pytest

from paddlevideo.loader import CrossTaskDataset, SampleReader
from paddlevideo.loader.dataset.crosstask import StepTruth
from paddlevideo.metrics import EvaluationData
from paddlevideo.modeling import build_model
from paddlevideo.timelines import StepMetric
from paddlevideo.utils.errors import ConfigError, DataError, WeightsError
from tests.timeline_data import (
    crosstask_keys,
    matching_model,
    mstcn_keys,
    small_model,
    write_crosstask,
    write_mstcn,
)


@pytest.fixture
def data(tmp_path):
    return CrossTaskDataset(**crosstask_keys(write_crosstask(tmp_path)))


def scored(data, order, change=lambda scores: scores):
    """A metric with perfect scores, changed for video 0."""
    metric = StepMetric(order)
    scores = [true.seconds.astype(np.float32) for true in data.truth()]
    scores[0] = change(scores[0].copy())
    metric.update(np.arange(3), {"scores": scores})
    return metric


def swapped(scores):
    return scores[:, [1, 0, 2]]


def backwards(scores):
    return scores[::-1]


def test_recall_by_task_and_its_mean(data):
    metric = scored(data, "free", swapped)
    results = metric.result(data.truth())
    assert results["by_task"] == {"7": pytest.approx(400 / 6), "8": 100}
    assert results["recall"] == pytest.approx((400 / 6 + 100) / 2)
    assert results["recall_of_videos"] == pytest.approx((100 / 3 + 100 + 100) / 3)
    assert metric.counts() == {"pairs_scored": 24 * 3 + 30 * 2 + 27 * 3}


def test_the_order_is_a_choice(data):
    ordered, free = (scored(data, order, backwards) for order in ("listed", "free"))
    seconds = ordered.predicted(data.truth())[0]
    assert (np.diff(seconds) > 0).all()
    assert (np.diff(free.predicted(data.truth())[0]) < 0).all()
    assert ordered.protocol()["order"] == "listed"


def test_steps_can_be_compared_within_a_second():
    """Second 0 has the largest scores of both steps, but is surely the first one."""
    scores = np.array([[9.0, 5.0], [0.0, 4.0]], np.float32)
    truth = [StepTruth("7", np.array([[True, False], [False, True]]), "v")]
    for normalize, recall in ((False, 50), (True, 100)):
        metric = StepMetric("free", normalize)
        metric.update(np.array([0]), {"scores": [scores]})
        assert metric.result(truth)["recall"] == recall


def test_a_background_takes_part_in_the_comparison_only():
    """Second 0 is nothing for sure, second 1 the step by a little."""
    scores = np.array([[4.0, 9.0], [3.0, 1.0]], np.float32)
    truth = [StepTruth("7", np.array([[False], [True]]), "v")]
    for normalize, recall in ((False, 0), (True, 100)):
        metric = StepMetric("free", normalize)
        metric.update(np.array([0]), {"scores": [scores]})
        assert metric.result(truth)["recall"] == recall


def test_yardsticks_and_chance(data):
    metric = scored(data, "listed")
    truth = data.truth()
    assert metric.yardsticks(truth)["perfect scores"]["recall"] == 100
    chance = metric.chance(truth)["by_task"]
    assert chance["8"] == pytest.approx(100 * 5 / 30)
    assert chance["7"] == pytest.approx(100 * (5 / 24 + 5 / 27) / 2)
    assert 0 <= metric.yardsticks(truth)["evenly spaced"]["recall"] < 100


def test_files_are_those_of_crosstask(data, tmp_path):
    metric = scored(data, "free", swapped)
    answers = metric.answers(data)
    files = metric.files(data, answers, False)
    assert set(files) == {"predictions.jsonl", "7_x0.csv", "8_x1.csv", "7_x2.csv"}
    for name, write in files.items():
        write(tmp_path / name)
    assert (tmp_path / "8_x1.csv").read_text() == "1,2,3\n2,9,10\n"
    row = json.loads((tmp_path / "predictions.jsonl").read_text().splitlines()[0])
    first = row["steps"][0]
    assert first == {"step": 1, "text": "cut onion", "second": 9, "score": 1.0, "right": False}


def test_the_page_marks_what_is_right(data, tmp_path):
    metric = scored(data, "free", swapped)
    truth = data.truth()
    results = {**metric.result(truth), "chance": metric.chance(truth)}
    results["yardsticks"] = metric.yardsticks(truth)
    metric.write_page(tmp_path / "page.html", results, metric.answers(data), None)
    page = (tmp_path / "page.html").read_text()
    for text in (
        "Step localisation",
        "x0, task 7",
        "1 of 3 steps found",
        "evenly spaced",
        ">wrong<",
    ):
        assert text in page


def test_fewer_seconds_than_steps_name_the_task(data):
    metric = StepMetric("listed")
    truth = data.truth()
    short = truth[0]._replace(seconds=truth[0].seconds[:2])
    metric.update(np.array([0]), {"scores": [np.zeros((2, 3), np.float32)]})
    with pytest.raises(DataError, match='features: video "x0": 2 seconds for 3 steps'):
        metric.result([short])


def test_scores_that_cannot_be_used(data):
    truth = data.truth()[:1]
    for scores, message in (
        (np.zeros((24, 2)), r"shape \(24, 2\); expected \(24, 3\), or one more"),
        (np.full((24, 3), np.nan), "a score is not finite"),
    ):
        metric = StepMetric()
        metric.update(np.array([0]), {"scores": [scores]})
        with pytest.raises(DataError, match=message):
            metric.result(truth)
    with pytest.raises(ConfigError, match='METRIC.best is "recal".*Did you mean "recall"'):
        StepMetric(best="recal")


# -------------------------------------------------------------------------- matching


def predictor_of(model, data):
    batch = SampleReader(data).batch(0, list(range(len(data))))
    given = EvaluationData(None, None, lambda x: [x], lambda first, validating: None)
    return StepMetric().predictor(model, given), batch


def test_scores_are_those_of_pairs_of_a_clip_and_a_text(data):
    paddle.seed(0)
    model = build_model(matching_model(pair_batch=7))
    model.eval()
    predictor, batch = predictor_of(model, data)
    scores = predictor.predict(batch)["scores"]
    assert [each.shape for each in scores] == [(24, 3), (30, 2), (27, 3)]
    video = batch["step_video"][0]
    (clips,) = video.clips(100)
    one = {key: x[4:5] for key, x in clips.items()}
    expected = model.margins(model.encode_captions(video.texts()), model.encode_videos(one))
    np.testing.assert_allclose(scores[0][4], expected.numpy()[:, 0], atol=1e-5)


def test_similarities_of_a_retrieval_head_are_added(data):
    paddle.seed(0)
    head = {"name": "RetrievalHead", "width": 8, "similarity_weight": 2.0}
    model = build_model(matching_model(retrieval_head=head))
    model.eval()
    predictor, batch = predictor_of(model, data)
    scores = predictor.predict(batch)["scores"][1]
    video = batch["step_video"][1]
    texts, clips = model.encode_captions(video.texts()), model.encode_videos(next(video.clips(99)))
    similarity = float(model.retrieval_head.scale) * texts.vector.numpy() @ clips.vector.numpy().T
    expected = model.margins(texts, clips).numpy() + 2.0 * similarity
    np.testing.assert_allclose(scores, expected.T, atol=1e-4)


def test_an_automatic_weight_must_have_been_chosen(data):
    head = {"name": "RetrievalHead", "width": 8, "similarity_weight": "auto"}
    model = build_model(matching_model(retrieval_head=head))
    predictor, batch = predictor_of(model, data)
    with pytest.raises(WeightsError, match="similarity_weight is automatic"):
        predictor.predict(batch)


def test_a_model_or_data_of_another_task(data, tmp_path):
    folder = write_mstcn(tmp_path / "other")
    with pytest.raises(ConfigError, match="ActBertTask cannot do"):
        predictor_of(build_model(small_model()), data)
    from paddlevideo.loader import MSTCNDataset

    predictor, batch = predictor_of(
        build_model(matching_model()), MSTCNDataset(**mstcn_keys(folder))
    )
    with pytest.raises(ConfigError, match="StepMetric needs videos of tasks"):
        predictor.predict(batch)
