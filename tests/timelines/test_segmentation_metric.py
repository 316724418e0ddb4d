"""The metric of segmentation: numbers, yardsticks, files and the page."""

from __future__ import annotations

import json

import numpy as np
import pytest

from paddlevideo.loader import MSTCNDataset
from paddlevideo.timelines import SegmentationMetric
from paddlevideo.utils.errors import ConfigError, DataError
from tests.timeline_data import CLASSES, mstcn_keys, write_mstcn


@pytest.fixture
def data(tmp_path):
    return MSTCNDataset(**mstcn_keys(write_mstcn(tmp_path)))


@pytest.fixture
def metric(data):
    """The second half of video 1 is wrong."""
    metric = SegmentationMetric()
    guesses = data.truth()
    guesses[1] = guesses[1].copy()
    guesses[1][15:] = 3
    metric.update(np.array([2, 3]), {"labels": guesses[2:]})
    metric.update(np.array([0, 1]), {"labels": guesses[:2]})
    return metric


def test_numbers_are_means_over_videos(metric, data):
    truth = data.truth()
    results = metric.result(truth)
    right = float(np.mean(truth[1][15:] == 3)) * 16 + 15
    assert results["accuracy"] == pytest.approx(100 * (3 + right / 31) / 4)
    seconds = sum(map(len, truth))
    assert results["pooled"]["accuracy"] == pytest.approx(100 * (seconds - 31 + right) / seconds)
    assert results["edit"] < 100 and results["F1@50"] < 100
    assert metric.counts() == {"seconds": seconds}


def test_yardsticks_are_constants(metric, data):
    truth = data.truth()
    yardsticks = metric.yardsticks(truth)
    share = np.mean([np.mean(each == 0) for each in truth])
    assert yardsticks["always background"]["accuracy"] == pytest.approx(100 * share)
    assert yardsticks["always background"]["foreground_accuracy"] == 0
    commonest = np.bincount(np.concatenate(truth)).max() / sum(map(len, truth))
    assert yardsticks["majority"]["pooled"]["accuracy"] == pytest.approx(100 * commonest)


def test_best_is_checked():
    assert SegmentationMetric(best="pooled.F1@50").best == "pooled.F1@50"
    assert SegmentationMetric(best="F1@75", overlap=[0.75]).best == "F1@75"
    with pytest.raises(ConfigError, match='METRIC.best is "edits".*Did you mean "edit"'):
        SegmentationMetric(best="edits")


def test_files_have_a_label_a_second_and_coins_form(metric, data, tmp_path):
    answers = metric.answers(data)
    files = metric.files(data, answers, False)
    assert set(files) == {"predictions.jsonl", "coin.json", "v0.txt", "v1.txt", "v2.txt", "v3.txt"}
    for name, write in files.items():
        write(tmp_path / name)
    truth = (data.gt_path / "v2.txt").read_text()
    assert (tmp_path / "v2.txt").read_text() == truth
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").open()]
    assert [row["video"] for row in rows] == ["v0", "v1", "v2", "v3"]
    assert rows[0]["segments"][0] == {"start": 5, "end": 10, "label": CLASSES[1]}
    coin = json.loads((tmp_path / "coin.json").read_text())["database"]
    first = coin["v0"]["annotation"][0]
    assert first == {"id": "1", "segment": [5.0, 10.0], "label": CLASSES[1]}


def test_the_page_shows_videos_against_the_truth(metric, data, tmp_path):
    truth = data.truth()
    results = {**metric.result(truth), "yardsticks": metric.yardsticks(truth)}
    results["protocol"] = metric.protocol()
    metric.write_page(tmp_path / "page.html", results, metric.answers(data), None)
    page = (tmp_path / "page.html").read_text()
    for text in (
        "Action segmentation",
        "predicted",
        "true",
        "v1",
        "always background",
        "cut_onion",
    ):
        assert text in page
    assert page.count("<figure") == 4 and "<script" not in page


def test_numbers_are_printed(metric, data, capsys):
    truth = data.truth()
    metric.show({**metric.result(truth), "yardsticks": metric.yardsticks(truth)})
    shown = capsys.readouterr().out
    assert "F1@50" in shown and "always background" in shown


def test_predictions_of_another_kind_or_length(data):
    metric = SegmentationMetric()
    metric.update(np.arange(4), {"loss": np.zeros(4)})
    with pytest.raises(ConfigError, match="needs labels of seconds, but the model returns loss"):
        metric.result(data.truth())
    metric = SegmentationMetric()
    metric.update(np.arange(4), {"labels": [np.zeros(3, np.int64)] * 4})
    with pytest.raises(DataError, match="video 0: 3 labels were predicted for 23 seconds"):
        metric.result(data.truth())
