"""Files of multiple choice: the published forms, every mistake named, the arrays of a sample."""

from __future__ import annotations

import json

import numpy as np
import pytest

from paddlevideo.loader import MultipleChoiceDataset, load_tokenizer
from paddlevideo.loader.questions.choices import answer_position, candidate_columns, read_choices
from paddlevideo.utils.errors import DataError
from tests.loader.data import F, G, make_record, save_lmdb

HEADER = "key\tvid_key\ta1\ta2\ta3\tanswer\n"
NEXT_QA = (
    "video,frame_count,width,height,question,answer,qid,type,a0,a1\n"
    '4010,90,64,48,"why, then",1,6,CW,to rest,to play\n'
    "4010,90,64,48,how many,0,7,DC,one,two\n"
)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_table_of_msrvtt(tmp_path):
    path = write(tmp_path / "mc.csv", HEADER + 'q0\tmsr12\ta "man", cooks\tb\tc\t2\n')
    (choice,) = read_choices(path)
    assert (choice.id, choice.clip, choice.answer) == ("q0", "video12", 2)
    assert choice.texts == ['a "man", cooks', "b", "c"]
    assert choice.where.endswith("line 2")


def test_a_table_of_next_qa(tmp_path):
    first, second = read_choices(write(tmp_path / "val.csv", NEXT_QA))
    assert (first.id, first.clip, first.kind, first.answer) == ("4010_6", "4010", "CW", 1)
    assert first.texts == ["why, then to rest", "why, then to play"]
    assert (second.id, second.answer) == ("4010_7", 0)


def test_json_lines_with_options(tmp_path):
    lines = [
        {"video_id": "v1", "question": "what?", "options": ["x", "y"], "answer": "B"},
        {"video_id": "v2", "options": ["one", "two", "3"], "answer": "two", "question_id": 7},
        {"video_id": "v3", "options": ["x", "y", "z"], "answer": 2, "type": "when"},
    ]
    path = write(tmp_path / "mc.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    choices = read_choices(path)
    assert [choice.answer for choice in choices] == [1, 1, 2]
    assert [choice.id for choice in choices] == ["v1_1", "7", "v3_3"]
    assert choices[2].kind == "when" and choices[0].texts[1] == "what? y"
    listed = write(tmp_path / "mc.json", json.dumps(lines))
    assert [choice.candidates for choice in read_choices(listed)] == [c.candidates for c in choices]


def test_only_a_test_needs_clips_and_answers(tmp_path):
    lines = [
        {"question": "what?", "options": ["x", "y"]},
        {"video_id": "v2", "options": ["one", "two"], "answer": "two", "question_id": 7},
    ]
    path = write(tmp_path / "mc.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    first, second = read_choices(path, for_test=False)
    assert (first.clip, first.answer, first.question) == ("", -1, "what?")
    assert (second.clip, second.answer, second.id) == ("v2", 1, "7")
    with pytest.raises(DataError, match="line 1: has no clip"):
        read_choices(path)
    table = write(tmp_path / "mc.csv", "question,a0,a1\nwhat?,x,y\n")
    (row,) = read_choices(table, for_test=False)
    assert (row.clip, row.answer, row.texts) == ("", -1, first.texts)
    with pytest.raises(DataError, match="NExT-QA"):
        read_choices(table)
    wrong = write(tmp_path / "wrong.csv", "video,a0,a1,answer\nv,x,y,3\n")
    with pytest.raises(DataError, match="line 2: the answer is 3"):
        read_choices(wrong, for_test=False)


def test_the_real_file(shared):
    choices = read_choices(str(shared / "data" / "youcook2_mini" / "mc_dev.csv"))
    assert len(choices) == 300 and all(len(choice.candidates) == 5 for choice in choices)
    assert choices[1].candidates[choices[1].answer] == "spread the dough into the shape desired"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("key\tvid_key\tanswer\nq0\tv\t1\n", ["line 1", "a1, a2", "MSR_MC_test.csv", "NExT-QA"]),
        ("q0\tv\ta\tb\tc\t1\n", ["line 1", '"q0', "header"]),
        (HEADER.replace("a2", "a4") + "q0\tv\ta\tb\tc\t1\n", ["line 1", "a1, a2"]),
        (HEADER + "q0\tv\ta\tb\tc\t3\n", ["line 2", "answer is 3", "0 to 2", "counted from 1"]),
        (HEADER + "q0\tv\ta\tb\tc\t-1\n", ["line 2", "answer is -1"]),
        (HEADER + "q0\tv\ta\tb\tc\t\n", ["line 2", "answer is ''"]),
        (HEADER + "q0\tv\ta\t\tc\t0\n", ["line 2", "candidate is ''"]),
        (HEADER + "q0\tv\ta\tb\tc\n", ["line 2", "5 columns", "6"]),
        (HEADER + "q0\t\ta\tb\tc\t0\n", ["line 2", "no clip"]),
        (HEADER + "q0\tv\ta\tb\tc\t0\nq0\tw\ta\tb\tc\t0\n", ["line 3", '"q0"', "line 2"]),
        (HEADER, ["no questions"]),
        ('{"video_id": "v", "options": "x", "answer": 0}', ["line 1", "options are 'x'"]),
        ('{"video_id": "v", "answer": 0}', ["line 1", '"options"']),
        ('{"video_id": "v", "options": ["x", "y"], "answer": "z"}', ["line 1", "'z'"]),
        ('{"video_id": "v"', ["line 1", "not a JSON object"]),
        ('{"video_id": "v", "options": ["x", NaN], "answer": 0}', ["line 1", "candidate is nan"]),
        (HEADER + f"q0\tv\ta\tb\tc\t{'9' * 5000}\n", ["line 2", "the answer is '999"]),
        ("", ["is empty"]),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path, text, expected):
    path = write(tmp_path / "mc.csv", text)
    with pytest.raises(DataError) as error:
        read_choices(path)
    assert path in str(error.value) and "\n" not in str(error.value)
    for part in expected:
        assert part in str(error.value)


def test_columns_and_answers_in_other_forms():
    assert candidate_columns(["a10", *(f"a{i}" for i in range(1, 10))])[-1] == "a10"
    assert candidate_columns(["a2", "a3"]) == [] == candidate_columns(["a0"])
    assert answer_position("2", ["1", "2", "3"], "") == 1  # a candidate before a position
    assert answer_position(2, ["1", "2", "3"], "") == 2
    with pytest.raises(DataError, match="expected its position"):
        answer_position(None, ["x", "y"], "")


SIZES = {"vision_feature_dim": F, "action_feature_dim": G, "max_region_num": 4, "max_action_num": 2}


@pytest.fixture
def make(tmp_path):
    store = save_lmdb(tmp_path / "clips.lmdb", {name: make_record(name) for name in "vw"})

    def build(text, **options):
        return MultipleChoiceDataset(
            write(tmp_path / "mc.csv", text), store, **{**SIZES, "max_seq_length": 8, **options}
        )

    return build


def test_a_sample_has_all_candidates_and_the_clip(make):
    lines = [
        {"video_id": "v", "options": ["a man", "a dog", "x"], "answer": 1},
        {"video_id": "w.mp4", "question": "who", "options": ["a man", "a dog"], "answer": 0},
    ]
    dataset = make("\n".join(json.dumps(line) for line in lines))
    first, second = dataset[0], dataset[1]
    assert first["text_ids"].shape == second["text_ids"].shape == (3, 8)
    assert first["image_feat"].shape == (4, F) and first["action_feat"].shape == (2, G)
    assert second["text_mask"].sum(axis=1).tolist() == [5, 5, 0]
    ids = load_tokenizer("bert-base-uncased").encode("who a dog", 8)
    assert second["text_ids"][1, : len(ids)].tolist() == ids
    assert dataset.name_of(1) == "w" and dataset.default_metric() == {"name": "ChoiceMetric"}
    assert dataset.describe()["candidates"] == 3 and dataset.describe()["clips"] == 2
    assert np.array_equal(dataset.lengths(np.array([0, 1])), [5, 6])


def test_equal_candidates_are_named_or_counted(make):
    text = HEADER + "q0\tv\ta\tb\tc\t0\nq1\tw\tA dog\tx\ta  dog\t0\n"
    with pytest.raises(DataError, match=r'1 of 2 questions .* line 3 "a dog".*equal_candidates'):
        make(text)
    assert make(text, equal_candidates="count").describe()["equal_candidates"] == 1


def test_a_clip_without_features_is_named(make):
    with pytest.raises(DataError, match=r"mc.csv: 1 of 1 clips have no features .*: absent"):
        make(HEADER + "q0\tabsent\ta\tb\tc\t0\n")
