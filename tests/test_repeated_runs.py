"""A run's config.yaml repeats it, and tests its weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from paddlevideo.cli import run as main
from paddlevideo.safe_pickle import load_state
from tests.tiny_data import make_project

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project with a run of two epochs in ``output``, not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    assert main.main(["-c", str(make_project(folder))]) == 0
    return folder


@pytest.fixture
def project(finished, tmp_path):
    """A copy of it, with a configuration of its own."""
    make_project(tmp_path)
    shutil.copytree(finished / "output", tmp_path / "output")
    return tmp_path


def run(folder, *arguments):
    return main.main(["-c", str(folder / "tiny.yaml"), *arguments])


def assert_same_weights(first, second):
    a, b = load_state(first), load_state(second)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], name)


PARTS = """
from paddlevideo.registry import PIPELINES

@PIPELINES.register()
class KeepAll:
    def __call__(self, sample, rng):
        return sample
"""


def test_config_yaml_repeats_the_run(finished, tmp_path, monkeypatch):
    """From its -w, with its --validate and --import, and after a resume without -w."""
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "keep_all_parts.py").write_text(PARTS)
    start = str(finished / "output" / "Tiny_epoch_00001.pdparams")
    step = "PIPELINE.valid={transform: [{KeepAll: }]}"
    given = ["--validate", "--import", "keep_all_parts", "-o", step]
    assert run(tmp_path, "-w", start, "--max_iters", "3", *given) == 0
    assert run(tmp_path, "--resume", "auto", *given) == 0
    saved = yaml.safe_load((tmp_path / "output" / "config.yaml").read_text())
    assert saved["weights"] == start and saved["validate"] is True
    assert saved["imports"] == ["keep_all_parts"]
    assert not {"resume", "resume_epoch", "force", "overwrite", "max_iters"} & saved.keys()
    again = ["-c", str(tmp_path / "output" / "config.yaml")]
    assert main.main(again) == 2, "in the same folder it would be another run"
    assert main.main([*again, "-o", "output_dir=again"]) == 0
    first, second = (tmp_path / name / "Tiny_epoch_00002.pdparams" for name in ("output", "again"))
    assert_same_weights(first, second)
    assert (tmp_path / "again" / "Tiny_best.pdparams").is_file()
    repeated = yaml.safe_load((tmp_path / "again" / "config.yaml").read_text())
    assert {**repeated, "output_dir": saved["output_dir"]} == saved


def test_flags_win_over_keys(finished, tmp_path):
    make_project(tmp_path)
    config = yaml.safe_load((tmp_path / "tiny.yaml").read_text())
    config |= {"weights": "absent.pdparams", "max_iters": 1, "fleet": False, "validate": False}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    assert run(tmp_path) == 1
    weights = str(finished / "output" / "Tiny_epoch_00001.pdparams")
    assert run(tmp_path, "-w", weights, "--validate") == 0
    assert (tmp_path / "output" / "Tiny_best.pdparams").is_file()


def test_a_test_takes_no_weights_from_the_configuration(finished, tmp_path, capsys):
    """They are what training started from."""
    make_project(tmp_path)
    weights = finished / "output" / "Tiny_epoch_00001.pdparams"
    assert run(tmp_path, "--test", "-o", f"weights={weights}") == 2
    assert "-w WEIGHTS" in capsys.readouterr().err


def test_a_test_without_c_takes_the_configuration_beside_the_weights(project, capsys):
    weights = project / "output" / "Tiny_epoch_00002.pdparams"
    changes = ["-o", f"output_dir={project / 'tested'}"]
    assert main.main(["--test", "-w", str(weights), *changes]) == 0
    beside = project / "output" / "config.yaml"
    assert f"configuration: {beside}, from the folder of the weights" in capsys.readouterr().out
    assert (
        json.loads((project / "tested" / "results.json").read_text())["protocol"]["captions"] == 7
    )


@pytest.mark.parametrize(
    "text", ["MODEL: {}", "services: {web: 1}", "a: [", "MODEL: 1\nDATASET: 3"]
)
def test_a_configuration_beside_that_cannot_test_is_not_taken(project, capsys, text):
    (project / "output" / "config.yaml").write_text(text)
    weights = project / "output" / "Tiny_epoch_00002.pdparams"
    assert main.main(["--test", "-w", str(weights)]) == 2
    printed = capsys.readouterr()
    assert "configuration: actbert_msrvtt.yaml, the default" in printed.out
    assert "Traceback" not in printed.err


def test_modules_of_a_configuration_that_was_not_named_are_not_run(project, capsys, monkeypatch):
    path = project / "output" / "config.yaml"
    path.write_text(path.read_text() + "imports: [run_by_surprise]\n")
    (project / "run_by_surprise.py").write_text("raise SystemExit('it ran')")
    monkeypatch.chdir(project)
    weights = str(project / "output" / "Tiny_epoch_00002.pdparams")
    assert main.main(["--test", "-w", weights]) == 2
    assert "--import run_by_surprise" in capsys.readouterr().err
