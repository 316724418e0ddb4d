"""tools/ablate.py: variants are run once each, resumed, compared, tabled and drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from paddlevideo.cli import ablate
from paddlevideo.report import figures
from paddlevideo.report.bars import Bar, draw_bars
from paddlevideo.report.queries import Query, write_queries
from paddlevideo.utils.errors import ConfigError
from tests.tiny_data import make_project

VARIANTS = """
- name: the recipe
- name: without words
  train: [MODEL.loss.text_weight=0]
- name: far away
  train: [MODEL.loss.match_weight=0]
- name: one seed's other test
  weights_of: the recipe
  test: [METRIC.best=text_to_video.R@1]
"""

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path, monkeypatch):
    make_project(tmp_path)
    (tmp_path / "variants.yaml").write_text(VARIANTS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*more):
    return ablate.main(
        ["tiny.yaml", "--variants", "variants.yaml", "--output", "out", *map(str, more)]
    )


class Stub:
    """Stands for main.py: notes what it was given, and writes the results of a test."""

    def __init__(self, fails=""):
        self.calls, self.fails = [], fails

    def __call__(self, words, stdout):
        arguments = words[2:]
        self.calls.append(arguments)
        if self.fails and self.fails in arguments:
            stdout.write(b"warning: first\nerror: no such thing\n")
            return 2
        if "--test" not in arguments:
            return 0
        folder = Path(next(a for a in arguments if a.startswith("output_dir="))[11:])
        folder.mkdir(parents=True, exist_ok=True)
        right = 2 if "MODEL.loss.match_weight=0" in arguments else 6
        ranks = [1] * right + [11] * (10 - right)
        write_queries(
            folder / "queries.jsonl",
            [Query("text_to_video", f"c{n}", [f"v{n}"], rank, []) for n, rank in enumerate(ranks)],
        )
        way = {"R@1": 10.0 * right, "R@5": 10.0 * right, "R@10": 10.0 * right, "MedianR": 1.0}
        (folder / "results.json").write_text(
            json.dumps(
                {"text_to_video": way, "video_to_text": way, "match_alone": {"text_to_video": way}}
            )
        )
        return 0


def test_each_variant_is_trained_and_tested_once(project, monkeypatch, capsys):
    stub = Stub()
    monkeypatch.setattr(ablate.Children, "call", lambda self, *given: stub(*given))
    assert run("--closest", 0, "--schedule", 1, "-o", "DATASET.batch_size=2") == 0
    assert len(stub.calls) == 7  # three are trained and tested, one is tested
    train, test = stub.calls[2:4]
    assert "--validate" in train and "epochs=2" in train and "resume=auto" in train
    for each in (train, test):
        assert {"MODEL.loss.text_weight=0", "DATASET.batch_size=2"} < set(each)
    assert test[test.index("-w") + 1].endswith("without_words/seed0/Tiny_epoch_00002.pdparams")
    other = stub.calls[-1]
    assert other[other.index("-w") + 1].endswith("the_recipe/seed0/Tiny_epoch_00002.pdparams")
    table = (project / "out" / "table.md").read_text()
    assert table in capsys.readouterr().out
    lines = table.splitlines()
    assert lines[2].startswith("| the recipe | 60.0 | 60.0 | 60.0 | 1 | 60.0 |  | 60.0 |  | 1 |")
    assert "| far away | 20.0 " in lines[4] and "| -40.0 (" in lines[4]
    assert "| +0.0 (+0.0 to +0.0) |" in lines[3]
    assert Image.open(project / "out" / "ablation.png").size[0] > 500
    # Again: nothing is left to do, until a variant changes.
    assert run("--closest", 0, "--schedule", 1, "-o", "DATASET.batch_size=2") == 0
    assert len(stub.calls) == 7
    (project / "variants.yaml").write_text(VARIANTS.replace("text_weight=0", "text_weight=2"))
    assert run("--closest", 0, "--schedule", 1, "-o", "DATASET.batch_size=2") == 0
    assert len(stub.calls) == 9 and "MODEL.loss.text_weight=2" in stub.calls[-1]


def test_runs_of_another_recipe_or_schedule_are_not_done(project, monkeypatch):
    stub = Stub()
    monkeypatch.setattr(ablate.Children, "call", lambda self, *given: stub(*given))
    options = ("--closest", 0, "--schedule", 1)
    assert run(*options, "--seeds", 2) == 0
    assert len(stub.calls) == 14
    recipe = project / "tiny.yaml"
    recipe.write_text(recipe.read_text().replace("learning_rate: 0.001", "learning_rate: 0.01"))
    assert run(*options) == 0
    assert len(stub.calls) == 21
    rows = json.loads((project / "out" / "results.json").read_text())
    assert [row["seeds"] for row in rows] == [[0]] * 4
    assert run("--closest", 0, "--schedule", 0.5, "--seeds", 2) == 0
    assert len(stub.calls) == 35


def test_a_run_that_did_not_record_its_recipe_is_done(project, monkeypatch):
    stub = Stub()
    monkeypatch.setattr(ablate.Children, "call", lambda self, *given: stub(*given))
    assert run("--closest", 0) == 0
    path = project / "out" / "far_away" / "seed0" / "done.json"
    done = json.loads(path.read_text())
    assert done.pop("recipe")["model_name"] == "Tiny"
    path.write_text(json.dumps(done))
    assert run("--closest", 0) == 0
    assert len(stub.calls) == 7


@pytest.mark.parametrize("damaged", ["done.json", "test/results.json"])
@pytest.mark.parametrize("text", ["", "{}", "[1]"])
def test_a_run_whose_files_are_damaged_is_not_done(project, monkeypatch, damaged, text):
    stub = Stub()
    monkeypatch.setattr(ablate.Children, "call", lambda self, *given: stub(*given))
    assert run("--closest", 0) == 0
    (project / "out" / "far_away" / "seed0" / damaged).write_text(text)
    assert run("--closest", 0) == 0
    assert len(stub.calls) == 9 and "MODEL.loss.match_weight=0" in stub.calls[-1]


def test_the_closest_get_three_seeds(project, monkeypatch):
    stub = Stub()
    monkeypatch.setattr(ablate.Children, "call", lambda self, *given: stub(*given))
    assert run("--closest", 2, "--schedule", 0.1) == 0
    rows = json.loads((project / "out" / "results.json").read_text())
    assert {row["name"]: row["seeds"] for row in rows} == {
        "the recipe": [0, 1, 2],
        "without words": [0, 1, 2],
        "far away": [0],
        "one seed's other test": [0, 1, 2],
    }
    assert all("epochs=1" in call for call in stub.calls if "--test" not in call)
    assert "60.0 +- 0.0" in (project / "out" / "table.md").read_text()


def test_what_fails_is_named_and_the_others_go_on(project, monkeypatch, capsys):
    stub = Stub(fails="MODEL.loss.text_weight=0")
    monkeypatch.setattr(ablate.Children, "call", lambda self, *given: stub(*given))
    assert run("--closest", 0, "--jobs", 2) == 1
    message = capsys.readouterr().err
    assert "1 run(s) failed" in message and "without words, seed 0" in message
    assert "train.log" in message and "error: no such thing" in message
    assert (project / "out" / "far_away" / "seed0" / "done.json").is_file()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1", "expected a list"),
        ("[1]", "is not a map with a name"),
        ("- {name: a, tran: [x=1]}", "not tran"),
        ("- {name: a, train: x=1}", "lists of a.b=value"),
        ("- {name: a}\n- {name: a}", "another variant has this name"),
        ("- {name: a, weights_of: b}", "a variant above"),
        ("- {name: a}\n- {name: b, weights_of: a, train: [x=1]}", "nothing is left to train"),
        ("- {name: [", "is missing in what opens"),
    ],
)
def test_a_wrong_list_is_explained(tmp_path, text, message):
    path = tmp_path / "variants.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        ablate.read_variants(path)


@pytest.mark.parametrize("wrong", [("--schedule", 0), ("--jobs", 0), ("--seeds", 0)])
def test_numbers_that_make_no_sense(project, wrong, capsys):
    with pytest.raises(SystemExit) as stop:
        run(*wrong)
    assert stop.value.code == 2 and f"{wrong[0]}: expected" in capsys.readouterr().err


def test_the_shipped_list_changes_keys_that_the_recipe_has():
    import paddlevideo as pv
    from paddlevideo.config import check_config, import_parts

    import_parts()
    variants = ablate.read_variants(ROOT / "tools" / "ablations" / "youcook2_mini.yaml")
    assert len(variants) > 10
    for variant in variants:
        config = pv.load_config("actbert_youcook2_mini.yaml", [*variant.train, *variant.test])
        config["DATASET"]["train"]["file_path"] = __file__
        config["DATASET"]["test"] |= {"file_path": __file__, "features_path": __file__}
        caption = config["PIPELINE"]["train"]["transform"][1]["RandomCap"]
        caption["caption_path"] = __file__
        check_config(config, "train")


def test_bars_are_drawn_to_scale():
    bars = [Bar("the first", 20.0), Bar("x" * 200, 10.0, 5.0, 15.0), Bar("nothing", 0.0, 0.0, 0.0)]
    with figures.drawing():
        figure = draw_bars("title", "note", bars)
        figure.canvas.draw()
    (axes,) = figure.axes
    assert [patch.get_width() for patch in axes.patches] == [20.0, 10.0, 0.0]
    assert len({patch.get_facecolor() for patch in axes.patches}) == 2, "the first is apart"
    intervals = [list(line.get_xdata()) for line in axes.get_lines()[1:]]
    assert intervals == [[5.0, 15.0], [0.0, 0.0]]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["the first", "x" * 39 + "\u2026", "nothing"]


@pytest.mark.slow
def test_real_runs(project):
    (project / "variants.yaml").write_text(
        "- name: all\n- {name: no words, train: [MODEL.loss.text_weight=0]}\n"
        "- {name: of two, weights_of: all, test: [num_threads=1]}\n"
    )
    assert run("--closest", 0, "--schedule", 0.5, "--jobs", 2) == 0
    rows = json.loads((project / "out" / "results.json").read_text())
    assert [row["name"] for row in rows] == ["all", "no words", "of two"]
    assert rows[0]["text_to_video.R@10"] == rows[2]["text_to_video.R@10"]
    assert rows[2]["difference"]["low"] == rows[2]["difference"]["high"] == 0
