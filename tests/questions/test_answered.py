"""The metrics of blanks and of open questions."""

from __future__ import annotations

import numpy as np
import pytest

from paddlevideo.loader.questions.open_questions import read_questions
from paddlevideo.loader.questions.question import Question
from paddlevideo.questions import AnswerMetric, BlankMetric
from paddlevideo.questions.page import card

TRUTH = [
    Question("q0", "a_0", "is it red", "yes", "yes/no"),
    Question("q1", "a_1", "is it new", "no", "yes/no"),
    Question("q2", "b_0", "what moves", "dog", "motion"),
    Question("q3", "b_1", "what color is it", "red", "color"),
]
ANSWERS = [["yes", "no"], ["yes", "no"], ["dog", "cat"], ["blue", "red"]]
WRONG = [["yes", "no"], ["yes", "no"], ["cat", "dog"], ["blue", "red"]]


def filled(metric):
    scores = np.array([[2.0, 1.0]] * 4)
    predictions = {"answers": ANSWERS, "scores": scores, "wrong_video_answers": WRONG}
    metric.update(np.arange(4), predictions)
    return metric


def test_numbers_by_type_and_controls():
    metric = filled(AnswerMetric())
    results = metric.result(TRUTH)
    assert results["accuracy"] == 50
    assert list(results["by_type"]) == ["motion", "free", "yes/no", "color"]
    assert results["by_type"] | {"motion": 100, "yes/no": 50, "color": 0} == results["by_type"]
    assert results["by_type"]["free"] == pytest.approx(100 / 3)
    wrong = metric.yardsticks(TRUTH)["wrong_video"]
    assert wrong["accuracy"] == 25 and wrong["gain"] == 25
    assert (wrong["gain_low"], wrong["gain_high"]) == (0, 50)  # one video of two gains


def test_without_the_control():
    metric = BlankMetric(wrong_video=False)
    metric.update(np.arange(4), {"answers": ANSWERS, "scores": np.zeros((4, 2))})
    assert list(metric.yardsticks(TRUTH)) == ["most_frequent_answer"]


def test_lines_and_the_file_of_answers():
    metric = filled(BlankMetric())
    rows = metric.rows(TRUTH)
    assert rows[3]["best"] == [("blue", 2.0), ("red", 1.0)] and not rows[3]["correct"]
    assert metric.submission(rows)[2] == {"question_id": "q2", "answer": "dog"}
    assert [line["right"] for line in card(rows[3])["lines"]] == [False, True]
    assert card({**rows[3], "answer": "green"})["lines"][-1] == {
        **{"name": "green", "score": None, "right": True, "position": None},
    }


def test_types_of_other_data_sets_are_kept():
    truth = [Question(str(n), "v", "what is it", "x", "what") for n in range(4)]
    assert list(filled(AnswerMetric()).result(truth)["by_type"]) == ["what"]


def test_the_yardsticks_of_activitynet_qa(shared):
    truth = read_questions(str(shared / "data" / "activitynet_qa_test.csv"))
    metric = AnswerMetric(wrong_video=False)
    metric.update(
        np.arange(len(truth)),
        {"answers": [["yes"]] * len(truth), "scores": np.zeros((len(truth), 1))},
    )
    rules = {name: x["accuracy"] for name, x in metric.yardsticks(truth).items()}
    assert rules["most_frequent_answer"] == pytest.approx(13.8, abs=0.05)
    assert rules["most_frequent_by_first_two_words"] == pytest.approx(23.9, abs=0.05)
    results = metric.result(truth)
    assert results["accuracy"] == pytest.approx(rules["most_frequent_answer"])
    assert results["by_type"]["yes/no"] == pytest.approx(100 * 1102 / 2094, abs=0.1)
