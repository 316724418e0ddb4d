"""Open questions: the published forms, types, every mistake named."""

from __future__ import annotations

import json

import pytest

from paddlevideo.loader import OpenQuestionDataset
from paddlevideo.loader.questions.open_questions import read_questions
from paddlevideo.utils.errors import ConfigError, DataError
from tests.loader.data import F, G, make_record, save_lmdb

QUESTIONS = [
    {"video_name": "one", "question": "is it red", "question_id": "one_1"},
    {"video_name": "two", "question": "what color is it", "question_id": "two_1"},
]
ANSWERS = [
    {"answer": "red", "type": 4, "question_id": "two_1"},
    {"answer": "Yes", "type": 3, "question_id": "one_1"},
]


def write(path, content):
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return str(path)


def write_pair(folder, questions=QUESTIONS, answers=ANSWERS):
    write(folder / "test_a.json", answers)
    return write(folder / "test_q.json", questions)


def test_the_pair_of_activitynet_qa(tmp_path):
    first, second = read_questions(write_pair(tmp_path), clip_id="v_{video}")
    assert (first.id, first.clip, first.answer, first.kind) == ("one_1", "v_one", "yes", "yes/no")
    assert (second.answer, second.kind) == ("red", "color")


def test_answers_in_another_place(tmp_path):
    path = write(tmp_path / "questions.json", QUESTIONS)
    answers = write(tmp_path / "answers.json", ANSWERS)
    assert [each.answer for each in read_questions(path, answers)] == ["yes", "red"]


def test_json_of_msrvtt_qa(tmp_path):
    entry = {
        "video_id": 6513,
        "question": "What is it?",
        "answer": "couch",
        "id": 158,
        "category_id": 1,
    }
    (question,) = read_questions(write(tmp_path / "qa.json", [entry]), clip_id="video{video}")
    assert (question.id, question.clip, question.kind) == ("158", "video6513", "what")


def test_the_real_table(shared):
    questions = read_questions(str(shared / "data" / "activitynet_qa_test.csv"))
    assert len(questions) == 8000 and questions[0].kind == "yes/no"
    assert questions[0].clip == "v_1QIUV7WYKXg" and questions[0].answer == "no"


@pytest.mark.parametrize(
    "questions, answers, expected",
    [
        (
            QUESTIONS,
            ANSWERS[:1],
            ["test_q.json: entry 0", '"one_1" has no answer in', "test_a.json"],
        ),
        (QUESTIONS + QUESTIONS[:1], ANSWERS, ["test_q.json: entry 2", '"one_1"', "entry 0"]),
        (
            QUESTIONS,
            [*ANSWERS[:1], {"question_id": "one_1"}],
            ["test_a.json: entry 1", "no answer"],
        ),
        ([{"video_name": "one", "question_id": "one_1"}], ANSWERS, ["entry 0", "no question"]),
        ([{"question": "q", "question_id": "one_1"}], ANSWERS, ["entry 0", "no clip"]),
        (["text"], ANSWERS, ["entry 0", "not an object"]),
        ([], ANSWERS, ["no questions"]),
    ],
)
def test_a_mistake_is_named_with_its_entry(tmp_path, questions, answers, expected):
    path = write_pair(tmp_path, questions, answers)
    with pytest.raises(DataError) as error:
        read_questions(path)
    for part in expected:
        assert part in str(error.value)


def test_other_mistakes_are_named(tmp_path):
    table = write(tmp_path / "qa.csv", "video,text,answer\nv,what,x\n")
    with pytest.raises(DataError, match=r"qa.csv: line 1: .*does not name the columns"):
        read_questions(table)
    (tmp_path / "alone").mkdir()
    with pytest.raises(DataError, match=r"there is no .*test_a.json with the answers"):
        read_questions(write(tmp_path / "alone" / "test_q.json", QUESTIONS))
    with pytest.raises(ConfigError, match=r"expected the name \{video\}"):
        read_questions(write_pair(tmp_path), clip_id="{clip}")
    with pytest.raises(ConfigError, match=r"expected the name \{video\}"):
        read_questions(write_pair(tmp_path), clip_id="{video.id}")
    with pytest.raises(DataError, match="empty.csv: is empty"):
        read_questions(write(tmp_path / "empty.csv", ""))


def test_samples(tmp_path):
    store = save_lmdb(tmp_path / "c.lmdb", {name: make_record(name) for name in ("one", "two")})
    sizes = {"vision_feature_dim": F, "action_feature_dim": G, "max_region_num": 4}
    dataset = OpenQuestionDataset(write_pair(tmp_path), store, max_seq_length=8, **sizes)
    assert dataset[1]["answer"] == "red" and dataset[1]["text_ids"].shape == (8,)
    assert dataset.default_metric() == {"name": "AnswerMetric"}
    assert dataset.describe()["clips"] == 2
