"""The metric of multiple choice, and its page."""

from __future__ import annotations

import numpy as np
import pytest

from paddlevideo.loader.questions.question import Choice
from paddlevideo.questions import ChoiceMetric
from paddlevideo.questions.page import card, summary, write_questions_page
from paddlevideo.utils.errors import ConfigError, DataError

TRUTH = [
    Choice("q0", "v", "", ("x", "y", "z"), 1, "how"),
    Choice("q1", "w", "why?", ("x", "y"), 0, "why"),
    Choice("q2", "w", "", ("x", "y", "z"), 1, "how"),
]
SCORES = [np.array([0.0, 2.0, 1.0]), np.array([1.0, 1.0]), np.array([0.0, 1.0, 5.0])]
ALONE = [np.array([0.0, 2.0, 1.0]), np.array([2.0, 1.0]), np.array([0.0, 1.0, 5.0])]


@pytest.fixture
def metric():
    metric = ChoiceMetric()
    metric.update(
        np.array([2, 0]), {"scores": [SCORES[2], SCORES[0]], "text_alone": [ALONE[2], ALONE[0]]}
    )
    metric.update(np.array([1, 2]), {"scores": [SCORES[1], SCORES[0]], "text_alone": ALONE[1:]})
    return metric


def test_numbers_of_all_and_of_each_type(metric):
    results = metric.result(TRUTH)
    assert results["accuracy"] == pytest.approx(100 / 3) and results["questions"] == 3
    assert results["by_type"] == {"how": 50, "why": 0}
    assert metric.chance(TRUTH)["accuracy"] == pytest.approx(100 * (1 / 3 + 1 / 2 + 1 / 3) / 3)
    yardsticks = metric.yardsticks(TRUTH)
    assert yardsticks["most_frequent_position"]["accuracy"] == pytest.approx(200 / 3)
    assert yardsticks["text_alone"]["accuracy"] == pytest.approx(200 / 3)
    assert metric.protocol()["ties"].endswith("wrong")


def test_lines_and_the_file_of_answers(metric):
    rows = metric.rows(TRUTH)
    assert rows[0]["correct"] and not rows[1]["correct"] and rows[2]["prediction"] == 2
    assert rows[1] | {"question": "why?", "candidates": ["x", "y"], "answer": 0} == rows[1]
    assert metric.submission(rows)["q2"] == {"prediction": 2, "answer": 1}


def test_a_score_that_is_not_finite_is_named():
    with pytest.raises(DataError, match="question 4 has the score nan"):
        ChoiceMetric().update(np.array([4]), {"scores": [np.array([1.0, np.nan])]})


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="acuracy.*Did you mean"):
        ChoiceMetric(best="acuracy")
    with pytest.raises(ConfigError, match="object cannot .*encode_captions.*framework: ActBert"):
        ChoiceMetric().predictor(object(), None)


def test_a_card_lists_the_answers_best_first(metric):
    lines = card(metric.rows(TRUTH)[2])["lines"]
    assert [line["name"] for line in lines] == ["z", "y", "x"]
    assert [line["right"] for line in lines] == [False, True, False]


def test_the_page_names_candidates_and_results(metric, tmp_path):
    results = {**metric.result(TRUTH), "chance": metric.chance(TRUTH)}
    results |= {"yardsticks": metric.yardsticks(TRUTH), "protocol": {"ties": "wrong"}}
    assert summary(results).startswith("33.3\u00a0% of 3 questions")
    write_questions_page(tmp_path / "page.html", results, metric.rows(TRUTH), None)
    page = (tmp_path / "page.html").read_text("utf-8")
    for part in (
        "why?",
        "Wrong answers",
        "Correct answers",
        "text alone",
        "of type how",
        "50.00 %",
    ):
        assert part in page
