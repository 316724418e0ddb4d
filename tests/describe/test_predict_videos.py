"""``paddlevideo predict`` with trained weights: captions, answers, segments, steps."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import yaml

from paddlevideo.cli import predict
from paddlevideo.cli import run as main
from paddlevideo.loader.timeline.features import open_timelines
from paddlevideo.utils.class_names import read_class_names
from paddlevideo.utils.errors import DataError
from tests.extract.samples import moving, write_video
from tests.question_data import write_blanks, write_choices, write_open_questions
from tests.timeline_data import CLASSES, STEPS, WIDTH, mstcn_keys, write_crosstask, write_mstcn
from tests.tiny_data import make_project

HEAD = {
    **{"name": "CaptionHead", "streams": ["regions", "actions"], "layers": 1, "max_length": 15},
    **{"num_attention_heads": 2, "words": 12, "beam": 2},
}


def save_recipe(folder, change, **sizes):
    path = make_project(folder, **sizes)
    recipe = yaml.safe_load(path.read_text())
    for key in ("PIPELINE", "METRIC"):
        recipe.pop(key, None)
    change(recipe)
    path.write_text(yaml.safe_dump(recipe))
    return path


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    """A run that learned to describe the clips of an LMDB."""
    folder = tmp_path_factory.mktemp("captions")

    def change(recipe):
        recipe["MODEL"] = {**recipe["MODEL"], "framework": "ActBertTask", "head": HEAD}
        del recipe["MODEL"]["loss"]
        clips = {**recipe["DATASET"]["test"], "format": "CaptioningDataset"}
        recipe["DATASET"] |= dict.fromkeys(("train", "valid", "test"), clips)

    path = save_recipe(folder, change, videos=6)
    output = folder / "run"
    assert main.main(["-c", str(path), "--max_iters", "2", "-o", f"output_dir={output}"]) == 0
    return folder, next(output.glob("*.pdparams"))


def predicted(capsys, *arguments):
    assert predict.main(["--json", *map(str, arguments)]) == 0
    lines = capsys.readouterr().out.splitlines()  # with the log of what ran before
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_captions_are_those_of_a_test(captions, tmp_path, capsys):
    folder, weights = captions
    rows = predicted(capsys, "-w", weights, "--features", folder / "test.lmdb")
    test = ["--test", "-c", str(folder / "tiny.yaml"), "-w", str(weights)]
    assert main.main([*test, "-o", f"output_dir={tmp_path}"]) == 0
    expected = json.loads((tmp_path / "captions.json").read_text())
    by_clip = {row["clip"]: row["caption"] for row in rows}
    assert len(by_clip) == 6
    assert by_clip == {each["image_id"]: each["caption"] for each in expected}


def test_features_are_extracted_as_those_of_the_training_clips(captions, tmp_path, capsys):
    """A store of videos, weights trained on it, and subtitles for a video that it has not seen."""
    seen = tmp_path / "seen"
    for number in range(4):
        write_video(seen / f"v{number}.mp4", moving((number + 1, 0)))
    words = "".join(f"v{n},a square moves\n" for n in range(4))
    (tmp_path / "captions.csv").write_text(f"clip,caption\n{words}")
    store = tmp_path / "seen.store"
    command = [sys.executable, "-m", "paddlevideo", "extract", str(seen), "--output", str(store)]
    subprocess.run([*command, "--captions", str(tmp_path / "captions.csv")], check=True)
    folder, _ = captions
    recipe = yaml.safe_load((folder / "tiny.yaml").read_text())
    data = {
        **{"format": "CaptioningDataset", "file_path": str(tmp_path / "captions.csv")},
        **{"features_path": str(store), "max_seq_length": 8, "max_region_num": 4},
        **{"max_action_num": 2, "vision_feature_dim": 134, "action_feature_dim": 233},
    }
    recipe["DATASET"] |= dict.fromkeys(("train", "valid", "test"), data)
    recipe["MODEL"]["backbone"] |= {"v_feature_size": 134, "a_feature_size": 233}
    path = tmp_path / "videos.yaml"
    path.write_text(yaml.safe_dump(recipe))
    output = tmp_path / "run"
    assert main.main(["-c", str(path), "--max_iters", "2", "-o", f"output_dir={output}"]) == 0
    capsys.readouterr()
    weights = next(output.glob("*.pdparams"))
    video = write_video(tmp_path / "new.mp4", moving((2, 1), frames=30))
    rows = predicted(capsys, "-w", weights, video, "--every", 1, "--srt", tmp_path / "subtitles")
    assert [(row["start"], row["end"]) for row in rows] == [(0, 1), (1, 2), (2, 3)]
    assert (tmp_path / "subtitles" / "new.srt").read_text().count("-->") == 3
    with pytest.raises(DataError, match="clips are whole videos.*predict: --every 1"):
        open_timelines(str(store), 233, 134).open("v0")
    bad = tmp_path / "more" / "bad.mp4"
    write_video(tmp_path / "more" / "new.mp4", moving((2, 1), frames=10))
    bad.touch()
    given = ["-w", str(weights), str(video), str(bad.with_name("new.mp4"))]
    assert predict.main([*given, str(bad), "--every", "5"]) == 1
    said = capsys.readouterr()
    assert [line.split("\t")[:2] for line in said.out.splitlines()[-2:]] == [
        *(["new_0_3", "new"], ["more/new_0_1", "more/new"]),
    ]
    assert said.err.count("\n") == 2 and "1 of 3 videos could not be used" in said.err
    assert said.err.startswith(f"more/bad.mp4: failed: {bad}: has no bytes")
    assert predict.main([*given, str(tmp_path / "lost.mp4")]) == 1
    assert "lost.mp4: there is no such file" in capsys.readouterr().err
    (output / "extraction.json").unlink()
    assert predict.main(["-w", str(weights), str(video)]) == 2
    assert "there is no extraction.json beside it" in capsys.readouterr().err


def trained(path, folder, capsys):
    """Options for the weights of two steps of a recipe, and for the features of its test."""
    output = folder / "run"
    assert main.main(["-c", str(path), "--max_iters", "2", "-o", f"output_dir={output}"]) == 0
    capsys.readouterr()
    return ["-w", next(output.glob("*.pdparams")), "--features", folder / "test.lmdb"]


def test_a_question_is_answered_for_each_clip(tmp_path, capsys):
    def change(recipe):
        head = {"name": "AnswerHead"}
        recipe["MODEL"] = {**recipe["MODEL"], "framework": "ActBertTask", "head": head}
        del recipe["MODEL"]["loss"]
        asked = write_open_questions(tmp_path / "test_q.json", 5)
        data = {**recipe["DATASET"]["test"], "format": "OpenQuestionDataset"}
        data["file_path"] = str(asked)
        recipe["DATASET"] |= dict.fromkeys(("train", "valid", "test"), data)

    path = save_recipe(tmp_path, change, videos=5)
    given = trained(path, tmp_path, capsys)
    (tmp_path / "asked.txt").write_text("what color is it\n\n")
    rows = predicted(
        capsys, *given, "--question", "is it a dog", "--questions", tmp_path / "asked.txt"
    )
    assert len(rows) == 10
    assert {row["question"] for row in rows} == {"is it a dog", "what color is it"}
    assert all({row["answer"], *row["next_best"]} == {"yes", "no", "red"} for row in rows)
    assert predict.main([str(word) for word in given]) == 2
    assert "give --question or --questions" in capsys.readouterr().err


def test_a_blank_is_filled_in_for_each_clip(tmp_path, capsys):
    def change(recipe):
        head = {"name": "BlankHead"}
        recipe["MODEL"] = {**recipe["MODEL"], "framework": "ActBertTask", "head": head}
        del recipe["MODEL"]["loss"]
        data = {**recipe["DATASET"]["test"], "format": "FillInBlankDataset"}
        data["file_path"] = str(write_blanks(tmp_path / "fib.csv", 5))
        recipe["DATASET"] |= dict.fromkeys(("train", "valid", "test"), data)

    path = save_recipe(tmp_path, change, videos=5)
    given = trained(path, tmp_path, capsys)
    rows = predicted(capsys, *given, "--question", "the _____ soup")
    test = ["--test", "-c", str(path), "-w", str(given[1]), "-o", f"output_dir={tmp_path / 'test'}"]
    assert main.main(test) == 0
    capsys.readouterr()
    lines = (tmp_path / "test" / "predictions.jsonl").read_text().splitlines()
    expected = {row["clip"]: row["prediction"] for row in map(json.loads, lines)}
    assert {row["clip"]: row["answer"] for row in rows} == expected
    assert predict.main([str(word) for word in (*given, "--question", "the soup")]) == 2
    assert '"the soup": these weights fill in a blank' in capsys.readouterr().err
    assert predict.main([str(word) for word in (*given, "--steps", "cut")]) == 2
    assert "--steps: these weights give words for blanks" in capsys.readouterr().err


@pytest.fixture(scope="module")
def choices(tmp_path_factory):
    """Options for a recipe of multiple choice with weights of a retrieval, and its folder."""
    folder = tmp_path_factory.mktemp("choices")
    path = make_project(folder, videos=4)
    recipe = yaml.safe_load(path.read_text())
    head = {"name": "RetrievalHead", "width": 8, "similarity_weight": 3.0}
    recipe["MODEL"]["retrieval_head"] = head
    questions = str(write_choices(folder / "mc.csv", folder / "test.csv"))
    recipe["DATASET"]["test"] |= {"format": "MultipleChoiceDataset", "file_path": questions}
    recipe["METRIC"] = {"name": "ChoiceMetric"}
    path.write_text(yaml.safe_dump(recipe))
    output = folder / "run"
    assert main.main(["-c", str(path), "--max_iters", "1", "-o", f"output_dir={output}"]) == 0
    weights = next(output.glob("*.pdparams"))
    test = ["--test", "-c", str(path), "-w", str(weights), "-o", f"output_dir={folder / 'test'}"]
    assert main.main(test) == 0
    return folder, ["-w", weights, "--features", folder / "test.lmdb"]


def test_choices_are_those_of_a_test(choices, tmp_path, capsys):
    folder, given = choices
    rows = predicted(capsys, *given, "--questions", folder / "mc.csv")
    lines = (folder / "test" / "predictions.jsonl").read_text().splitlines()
    expected = {row["clip"]: row for row in map(json.loads, lines)}
    assert [row["clip"] for row in rows] == sorted(expected) and len(rows) == 4
    for row in rows:
        tested = expected[row["clip"]]
        assert [*row["scores"]] == tested["candidates"]
        np.testing.assert_allclose([*row["scores"].values()], tested["scores"], atol=2e-4)
        assert row["answer"] == tested["candidates"][tested["prediction"]]
        assert "question" not in row
    asked = [option for text in rows[0]["scores"] for option in ("--choice", text)]
    by_words = predicted(capsys, *given, *asked)
    assert by_words[0] == rows[0] and [row["clip"] for row in by_words] == sorted(expected)
    unnamed = {"question": "a man", "options": ["cuts", "stirs the soup"]}
    (tmp_path / "mc.jsonl").write_text(json.dumps(unnamed))
    with_question = predicted(capsys, *given, "--questions", tmp_path / "mc.jsonl")
    asked = ["--question", "a man", "--choice", "cuts", "--choice", "stirs the soup"]
    assert with_question == predicted(capsys, *given, *asked)
    joined = predicted(capsys, *given, "--choice", "a man cuts", "--choice", "a man stirs the soup")
    for row, other in zip(with_question, joined, strict=True):
        assert row["question"] == "a man" and row["answer"] in unnamed["options"]
        assert [*row["scores"].values()] == [*other["scores"].values()]


@pytest.mark.parametrize(
    "asked, message",
    [
        (["--choice", "a dog"], "--choice: expected two candidates or more"),
        (["--choice", "a dog", "--choice", " A  dog"], '"a dog" is given twice'),
        (["--choice", "a dog", "--choice", ""], "is empty"),
        (["--choice", "a dog", "--choice", "\N{SNOWMAN}"], "unknown words"),
        (["--question", "a dog"], "give each of them with --choice"),
        (["--question", " ", "--choice", "a", "--choice", "b"], "--question: is empty"),
        (["--choice", "a", "--choice", "b", "--steps", "cut"], "--steps: give either steps or"),
        (["--choice", "a", "--choice", "b", "--order", "free"], "--order: give either steps or"),
        (
            ["--question", "a dog " * 40, "--choice", "man", "--choice", "soup"],
            '"man" and "soup" are equal in the 16 word pieces (max_seq_length)',
        ),
        (["--steps", "a man, \N{SNOWMAN}"], "unknown words"),
        (["--task", "Make Soup"], "--task: give the file of tasks with --steps"),
        ([], "'first step, second step', or --choice for each candidate"),
    ],
)
def test_a_mistake_in_texts_is_told_before_videos_are_read(choices, capsys, asked, message):
    weights = str(choices[1][1])
    assert predict.main(["-w", weights, "none.mp4", "--extraction", "x.yaml", *asked]) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"options": ["a man"]}', "line 1: the options are ['a man']; expected a list of two"),
        ('{"options": ["a man", "A man"]}', 'line 1: the candidate "a man" is given twice'),
        ('{"options": ["a man", "\N{SNOWMAN}"]}', 'line 1: "\N{SNOWMAN}": all 1 pieces'),
        ('{"video_id": "none", "options": ["a", "b"]}', "1 of 1 clips have no features"),
        ("is it a dog\n", "does not name the columns of multiple choice. Expected a header with"),
    ],
)
def test_a_mistake_in_a_file_of_choices(choices, tmp_path, capsys, text, message):
    (tmp_path / "asked").write_text(text)
    given = [*map(str, choices[1]), "--questions", str(tmp_path / "asked")]
    assert predict.main(given) != 0
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and "asked: " in said.err


def test_scores_that_are_not_finite_are_refused(choices, monkeypatch, capsys):
    from paddlevideo.modeling.match_scorer import MatchScorer

    monkeypatch.setattr(MatchScorer, "pair_scores", lambda *_: np.array([1, np.nan], np.float32))
    given = [*map(str, choices[1]), "--choice", "a man", "--choice", "a dog"]
    assert predict.main(given) == 1
    assert 'clip "video0" has a score that is not a finite number' in capsys.readouterr().err


def test_steps_are_found_by_matching(tmp_path, capsys):
    """Zero-shot, with the weights of a retrieval."""
    path = make_project(tmp_path, videos=3)
    output = tmp_path / "run"
    assert main.main(["-c", str(path), "--max_iters", "1", "-o", f"output_dir={output}"]) == 0
    capsys.readouterr()
    timelines = tmp_path / "seconds"
    timelines.mkdir()
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        np.save(timelines / f"{name}.npy", rng.normal(size=(9, 10)).astype("float32"))
    given = ["-w", next(output.glob("*.pdparams")), "--features", timelines]
    rows = predicted(capsys, *given, "--steps", "a man cuts, the soup stirs, red onion")
    assert [row["video"] for row in rows] == ["one", "two"]
    for row in rows:
        seconds = [step["second"] for step in row["steps"]]
        assert seconds == sorted(seconds) and len(set(seconds)) == 3 and row["seconds"] == 9
    assert predict.main([str(word) for word in (*given, "--steps", "a,b,c,d,e,f,g,h,i,j")]) != 0
    assert 'seconds: video "one": 9 seconds for 10 steps' in capsys.readouterr().err
    steps = write_crosstask(tmp_path / "crosstask") / "tasks_primary.txt"
    in_card = predicted(capsys, *given, "--steps", steps, "--task", "Make Soup", "--order", "free")
    assert [step["step"] for step in in_card[0]["steps"]] == [*STEPS]
    by_words = predicted(capsys, *given, "--steps", ",".join(STEPS), "--order", "free")
    assert in_card == [{**row, "task": "Make Soup"} for row in by_words]
    both = ("--task", "8", "--task", "Make Soup", "--task", "7", "--order", "free")
    of_tasks = predicted(capsys, *given, "--steps", steps, *both)
    titles = ["Salt Soup", "Make Soup"] * 2
    assert [(row["video"], row["task"]) for row in of_tasks] == [
        *zip(("one", "one", "two", "two"), titles, strict=True),
    ]
    for row, alone in zip(of_tasks[1::2], in_card, strict=True):
        assert row["seconds"] == 9 and [*row["steps"][0]] == ["step", "second", "score"]
        for step, other in zip(row["steps"], alone["steps"], strict=True):
            assert step == {**other, "score": pytest.approx(other["score"], abs=2e-4)}
    for row in of_tasks[::2]:
        assert [step["step"] for step in row["steps"]] == [*STEPS[1:]]
    for wrong, message in (
        ((steps,), "has 2 tasks: Make Soup, Salt Soup. Name one or several, each with --task"),
        ((steps, "--task", "7", "--task", "Make Soups"), 'Did you mean "Make Soup"'),
        ((steps, "--task", "7", "--task", "Tea"), f'--task "Tea": {steps} has 2 tasks: Make Soup'),
        ((steps, "--task", "Make Soups"), 'Did you mean "Make Soup"'),
        (("lost.txt",), "--steps lost.txt: there is no such file of tasks"),
        (("\N{SNOWMAN}, cut",), "\N{SNOWMAN}"),
    ):
        assert predict.main([str(word) for word in (*given, "--steps", *wrong)]) != 0
        assert message in capsys.readouterr().err
    assert predict.main([str(word) for word in given]) == 2
    assert "give --steps" in capsys.readouterr().err


def test_mistakes_are_told_in_one_line(captions, tmp_path, capsys):
    folder, weights = captions
    given = ["-w", str(weights), "--features", str(folder / "test.lmdb")]
    assert predict.main([*given, "--question", "what is it"]) == 2
    assert "--question: these weights give captions" in capsys.readouterr().err
    missing = str(tmp_path / "none.mp4")
    assert predict.main(["-w", str(weights), missing, "--extraction", "classical.yaml"]) == 1
    assert f"{missing}: there is no such file or folder of videos" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        predict.main(["-w", str(weights)])
    assert "give videos, or --features" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        predict.main([*given, "--every", "2"])
    assert "--every is for videos" in capsys.readouterr().err


def test_segments_of_a_video(tmp_path, capsys):
    folder = write_mstcn(tmp_path)
    keys = mstcn_keys(folder)
    small = {"a_feature_size": WIDTH, "v_feature_size": keys["vision_feature_dim"]}
    changes = [
        *(f"DATASET.{split}={json.dumps(keys)}" for split in ("train", "test")),
        *(f"MODEL.backbone.{name}={size}" for name, size in small.items()),
        "DATASET.train.format=MSTCNDataset",
        "DATASET.test.format=MSTCNDataset",
        f"output_dir={tmp_path / 'run'}",
        "epochs=1",
    ]
    assert main.main(["-c", "actbert_salads50.yaml", "-o", *changes]) == 0
    capsys.readouterr()
    weights = next((tmp_path / "run").glob("*.pdparams"))
    rows = predicted(capsys, "-w", weights, "--features", folder / "features")
    assert [row["video"] for row in rows] == ["v0", "v1", "v2", "v3"]
    assert [row["seconds"] for row in rows] == [23, 31, 40, 17]
    labels = {part["label"] for row in rows for part in row["segments"]}
    assert labels <= {*CLASSES[1:]}
    one = [
        "-w",
        weights,
        "--features",
        folder / "features" / "v1.npy",
        "--coin",
        tmp_path / "c.json",
    ]
    assert predicted(capsys, *one) == rows[1:2]
    classes = read_class_names(str(tmp_path / "c.json"))
    assert {*classes[1:]} >= {part["label"] for part in rows[1]["segments"]}
    np.save(folder / "features" / "v1.npy", np.zeros((WIDTH, 0), np.float32))
    assert predict.main([*map(str, one[:4])]) == 1
    assert 'v1.npy: video "v1" has no seconds' in capsys.readouterr().err
    assert predict.main([*map(str, one[:4]), "--coin", str(tmp_path)]) == 2
    assert "is a folder: name a file in it" in capsys.readouterr().err
