"""Tests of questions by main.py: files, pages, equality with a retrieval test, mistakes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from paddlevideo.cli import run as main
from tests.question_data import write_blanks, write_choices, write_open_questions
from tests.tiny_data import make_project

VIDEOS = 7


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A project with a retrieval head, its weights, and a recipe of multiple choice."""
    folder = tmp_path_factory.mktemp("choices")
    path = make_project(folder, videos=VIDEOS)
    recipe = yaml.safe_load(path.read_text())
    head = {"name": "RetrievalHead", "width": 8, "similarity_weight": 3.0}
    recipe["MODEL"]["retrieval_head"] = head
    path.write_text(yaml.safe_dump(recipe))
    assert main.main(["-c", str(path), "--max_iters", "2"]) == 0
    recipe["DATASET"]["test"] |= {
        "format": "MultipleChoiceDataset",
        "file_path": str(write_choices(folder / "mc.csv", folder / "test.csv")),
    }
    recipe["METRIC"] = {"name": "ChoiceMetric"}
    (folder / "mc.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def run_test(folder, recipe, output, *more):
    weights = str(folder / "output" / "Tiny_epoch_00001.pdparams")
    arguments = ["--test", "-c", str(folder / recipe), "-w", weights, *more]
    return main.main([*arguments, "-o", f"output_dir={output}"])


def test_scores_are_those_of_a_retrieval_test(trained, tmp_path):
    assert run_test(trained, "tiny.yaml", tmp_path / "all", "-o", "score_matrix=True") == 0
    assert run_test(trained, "mc.yaml", tmp_path / "mc") == 0
    matrix = np.load(tmp_path / "all" / "scores.npz", allow_pickle=False)
    captions, videos = list(matrix["captions"]), list(matrix["video_ids"])
    rows = [json.loads(line) for line in (tmp_path / "mc" / "predictions.jsonl").open()]
    assert len(rows) == VIDEOS
    for row in rows:
        at = [captions.index(text) for text in row["candidates"]]
        expected = matrix["scores"][at, videos.index(row["clip"])]
        np.testing.assert_allclose(row["scores"], expected, atol=1e-4)
    results = json.loads((tmp_path / "mc" / "results.json").read_text())
    assert results["accuracy"] == pytest.approx(100 * np.mean([row["correct"] for row in rows]))
    assert results["chance"]["accuracy"] == pytest.approx(100 / 3)
    assert set(results["yardsticks"]) == {"text_alone", "most_frequent_position"}
    assert results["protocol"]["candidates"] == 3
    answers = json.loads((tmp_path / "mc" / "answers.json").read_text())
    assert answers["q4"] == {"prediction": rows[4]["prediction"], "answer": 1}


def test_a_page_shows_the_candidates(trained, tmp_path):
    page = tmp_path / "page.html"
    assert run_test(trained, "mc.yaml", tmp_path / "mc", "--report", str(page)) == 0
    assert "video3" in page.read_text() and "text alone" in page.read_text()


def test_without_the_clips_every_clip_gives_the_same_scores(trained, tmp_path):
    """The control cannot know the clip: the same candidates get the same scores."""
    from paddlevideo.config import load_config
    from paddlevideo.loader import build_dataset
    from paddlevideo.loader.build import BatchLoader, SampleReader
    from paddlevideo.loader.sampler import GridSampler
    from paddlevideo.metrics import EvaluationData
    from paddlevideo.modeling import build_model, load_weights
    from paddlevideo.questions import ChoiceMetric

    config = load_config(str(trained / "mc.yaml"))
    text = (trained / "mc.csv").read_text().splitlines()
    same = ["\t".join([f"q{n}", f"video{n}", *text[1].split("\t")[2:]]) for n in range(3)]
    (tmp_path / "same.csv").write_text("\n".join([text[0], *same]) + "\n")
    split = {**config.DATASET.test.to_dict(), "file_path": str(tmp_path / "same.csv")}
    dataset = build_dataset(split)
    model = build_model(config.MODEL)
    load_weights(model, trained / "output" / "Tiny_epoch_00001.pdparams", for_test=True)
    model.eval()
    loader = BatchLoader(SampleReader(dataset), GridSampler(3, 2))
    data = EvaluationData(None, loader, lambda state: [state], lambda *_: None)
    predictor = ChoiceMetric().predictor(model, data)
    rows = {"scores": [], "text_alone": []}
    for batch in loader.epoch():
        for name, scores in predictor.predict(batch).items():
            rows[name] += scores
    np.testing.assert_allclose(rows["text_alone"][0], rows["text_alone"][2], atol=1e-5)
    assert np.abs(rows["scores"][0] - rows["scores"][2]).max() > 1e-5


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda text: text.replace("answer", "result"), ["mc.csv: line 1", "a1, a2"]),
        (lambda text: text.replace("\t2\n", "\t3\n"), ["mc.csv: line 4", "answer is 3"]),
    ],
)
def test_a_mistake_is_one_line(trained, tmp_path, capsys, change, expected):
    original = (trained / "mc.csv").read_text()
    (trained / "mc.csv").write_text(change(original))
    try:
        assert run_test(trained, "mc.yaml", tmp_path / "mc") != 0
    finally:
        (trained / "mc.csv").write_text(original)
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "Traceback" not in error
    assert all(part in error for part in expected)


# ------------------------------------------------------------- blanks and open questions


def task_project(folder, name, head, file_path):
    """A recipe that trains and tests ``head`` on ``file_path``."""
    make_project(folder, videos=VIDEOS)
    recipe = yaml.safe_load((folder / "tiny.yaml").read_text())
    split = {**recipe["DATASET"]["test"], "format": name, "file_path": str(file_path)}
    backbone = recipe["MODEL"]["backbone"]
    recipe["MODEL"] = {"framework": "ActBertTask", "backbone": backbone, "head": {"name": head}}
    recipe["DATASET"] |= {"train": split, "valid": dict(split), "test": dict(split)}
    del recipe["METRIC"], recipe["PIPELINE"]
    recipe["OPTIMIZER"]["learning_rate"] = 1e-2
    (folder / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.fixture(scope="module")
def blanks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blanks")
    task_project(
        folder, "FillInBlankDataset", "BlankHead", write_blanks(folder / "fib.csv", VIDEOS)
    )
    assert main.main(["-c", str(folder / "tiny.yaml"), "--validate", "-o", "epochs=1"]) == 0
    return folder


@pytest.fixture(scope="module")
def opens(tmp_path_factory):
    folder = tmp_path_factory.mktemp("opens")
    questions = write_open_questions(folder / "train_q.json", VIDEOS)
    task_project(folder, "OpenQuestionDataset", "AnswerHead", questions)
    assert main.main(["-c", str(folder / "tiny.yaml"), "-o", "epochs=1"]) == 0
    return folder


def test_blanks_are_trained_and_tested(blanks, tmp_path):
    page = tmp_path / "page.html"
    output = tmp_path / "out"
    assert run_test(blanks, "tiny.yaml", output, "--report", str(page)) == 0
    results = json.loads((output / "results.json").read_text())
    assert results["questions"] == VIDEOS
    rules = results["yardsticks"]
    assert rules["most_frequent_answer"]["accuracy"] == pytest.approx(100 * 4 / 7)
    wrong = rules["wrong_video"]
    assert wrong["gain"] == pytest.approx(results["accuracy"] - wrong["accuracy"])
    assert wrong["gain_low"] <= wrong["gain"] <= wrong["gain_high"]
    assert results["protocol"]["without_blank"] == 0
    rows = [json.loads(line) for line in (output / "predictions.jsonl").open()]
    answers = json.loads((output / "answers.json").read_text())
    assert [each["answer"] for each in answers] == [row["prediction"] for row in rows]
    assert "the _____ soup" in page.read_text()


def test_open_questions_are_trained_and_tested(opens, tmp_path):
    assert run_test(opens, "tiny.yaml", tmp_path) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results["by_type"]) == ["free", "yes/no", "color"]
    assert results["by_type"]["free"] == pytest.approx(results["accuracy"])
    assert set(results["yardsticks"]) == {
        *("most_frequent_answer", "most_frequent_by_first_two_words", "wrong_video"),
    }
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert answers[0].keys() == {"question_id", "answer"} and len(answers) == 2 * VIDEOS


def test_a_run_resumes_with_its_answers(blanks, tmp_path):
    """Also one that began with other weights, whose list it took."""
    start = str(blanks / "output" / "Tiny_epoch_00001.pdparams")
    text = (blanks / "fib.csv").read_text().replace("blue", "green")
    (blanks / "other.csv").write_text(text)
    changes = [f"DATASET.train.file_path={blanks / 'other.csv'}", f"output_dir={tmp_path}"]
    recipe = str(blanks / "tiny.yaml")
    assert main.main(["-c", recipe, "-w", start, "--max_iters", "1", "-o", *changes]) == 0
    assert main.main(["-c", recipe, "-w", start, "--resume", "auto", "-o", *changes]) == 0
    from paddlevideo.modeling.heads.answers import decoded
    from paddlevideo.modeling.weight_files import read_weight_file

    arrays = read_weight_file(tmp_path / "Tiny_epoch_00002.pdparams").arrays
    assert sorted(decoded(arrays["head.answer_list"])[0]) == ["blue", "red"]


@pytest.mark.parametrize(
    "lines, expected",
    [
        (lambda lines: [line.replace("_____", "x") for line in lines], ["no question has a blank"]),
        (lambda lines: [lines[0].rpartition("\t")[0], *lines[1:]], ["line 1", "7 columns"]),
        (lambda lines: ["id\ta\tb\tc\td\tsentence\tquestion\tanswer", *lines], ["header", "LSMDC"]),
    ],
)
def test_a_mistake_in_blanks_is_one_line(blanks, tmp_path, capsys, lines, expected):
    text = (blanks / "fib.csv").read_text().splitlines()
    (blanks / "wrong.csv").write_text("\n".join(lines(text)) + "\n")
    change = f"DATASET.test.file_path={blanks / 'wrong.csv'}"
    weights = str(blanks / "output" / "Tiny_epoch_00001.pdparams")
    arguments = ["--test", "-c", str(blanks / "tiny.yaml"), "-w", weights]
    assert main.main([*arguments, "-o", change, f"output_dir={tmp_path}"]) != 0
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "Traceback" not in error
    assert all(part in error for part in expected)


def test_weights_without_the_head_are_refused(blanks, trained, tmp_path, capsys):
    weights = str(trained / "output" / "Tiny_epoch_00001.pdparams")
    arguments = ["--test", "-c", str(blanks / "tiny.yaml"), "-w", weights]
    assert main.main([*arguments, "-o", f"output_dir={tmp_path}"]) != 0
    error = capsys.readouterr().err
    assert "head.answer" in error and "Traceback" not in error


def test_another_list_of_answers_is_refused(blanks, tmp_path, capsys):
    (tmp_path / "answers.txt").write_text("red\ngreen\n")
    given = f"MODEL.head.answers={tmp_path / 'answers.txt'}"
    weights = str(blanks / "output" / "Tiny_epoch_00001.pdparams")
    arguments = ["--test", "-c", str(blanks / "tiny.yaml"), "-w", weights]
    assert main.main([*arguments, "-o", given, f"output_dir={tmp_path / 'out'}"]) != 0
    error = capsys.readouterr().err
    assert "answers.txt" in error and '"blue"' in error and "Traceback" not in error


def test_a_dry_run_of_questions(blanks, opens, capsys):
    for folder in (blanks, opens):
        assert main.main(["-c", str(folder / "tiny.yaml"), "--dry_run"]) == 0
        assert "answer " in capsys.readouterr().out
