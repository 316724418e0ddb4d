"""What a metric has without writing it."""

import pickle

import numpy as np
import pytest

import paddlevideo.metrics
from paddlevideo.metrics import Metric
from paddlevideo.utils.errors import DataError


class Longest(Metric):
    """The length of the longest text."""

    best = "longest"

    def result(self, truth):
        texts = self.collected.in_order(len(truth))["predictions"]
        return {"longest": max(map(len, texts))}


def test_a_metric_needs_a_result_and_nothing_else():
    ranks = [Longest(), Longest()]
    ranks[0].update(np.array([2, 0]), ["ccc", "a"])
    ranks[1].update(np.array([1, 2]), ["bb", "predicted again"])
    merged = Longest()
    merged.merge([pickle.loads(pickle.dumps(rank.state())) for rank in ranks])
    assert merged.result([None] * 3) == {"longest": 3}
    with pytest.raises(DataError, match="1 of 4 samples are missing"):
        merged.result([None] * 4)
    assert merged.answers(None) is None and merged.files(None, None, score_matrix=False) == {}
    assert merged.chance(None) == merged.protocol() == merged.counts() == {}
    (warning,) = merged.warnings(None, score_matrix=True)
    assert "Longest has no scores of pairs" in warning


def test_answers_are_lines_of_json_by_default(tmp_path):
    files = Longest().files(None, [{"text": "a"}, {"text": "b"}], score_matrix=False)
    files["answers.jsonl"](tmp_path / "answers.jsonl")
    assert (tmp_path / "answers.jsonl").read_text() == '{"text": "a"}\n{"text": "b"}\n'
    with pytest.raises(ValueError, match="JSON"):
        Longest().files(None, [{"score": float("nan")}], score_matrix=False)


def test_the_names_of_retrieval_can_be_had_from_metrics():
    for name in paddlevideo.metrics.__all__:
        assert getattr(paddlevideo.metrics, name)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = paddlevideo.metrics.no_such_name


def test_predictions_have_the_same_names_in_every_batch():
    metric = Longest()
    metric.update(np.array([0]), {"text": ["a"]})
    with pytest.raises(DataError, match=r"named \['other'\], those of earlier batches \['text'\]"):
        metric.update(np.array([1]), {"other": ["b"]})


def test_answers_may_hold_numbers_of_numpy(tmp_path):
    answers = [{"index": np.int64(3), "scores": np.ones(2, "float32")}]
    Longest().files(None, answers, score_matrix=False)["answers.jsonl"](tmp_path / "a")
    assert (tmp_path / "a").read_text() == '{"index": 3, "scores": [1.0, 1.0]}\n'
