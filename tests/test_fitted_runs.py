"""Runs of main.py whose retrieval head is fitted before the first step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from paddlevideo.cli import run as main
from paddlevideo.modeling.framework.actbert import ActBert
from paddlevideo.safe_pickle import load_state
from tests.tiny_data import NO_DROPOUT, make_project

ROOT = Path(__file__).parents[1]
FIT = "retrieval_head.map"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A recipe with a fitted head, hard negatives, and all losses but those of strangers."""
    folder = tmp_path_factory.mktemp("fitted")
    path = make_project(folder)
    recipe = yaml.safe_load(path.read_text())
    recipe["MODEL"] |= {
        "retrieval_head": {"name": "FittedHead", "words": 8, "similarity_weight": "auto"},
        "match_negatives": 3,
        "hard_negatives": 1,
    }
    recipe["MODEL"]["backbone"]["fixed_t_layer"] = 1
    recipe["MODEL"]["loss"]["mismatched"] = False
    path.write_text(yaml.safe_dump(recipe))
    return folder


def run(project, output, *flags, changes=()):
    changes = [f"output_dir={output}", *changes]
    return main.main(["-c", str(project / "tiny.yaml"), *flags, "-o", *changes])


def weights(output, tag="epoch_00002"):
    return load_state(output / f"Tiny_{tag}.pdparams")


@pytest.fixture(scope="module")
def trained(project):
    output = project / "one"
    assert run(project, output, "--validate") == 0
    return output


def test_it_is_fitted_once_and_tested(project, trained, tmp_path):
    assert (trained / "log.txt").read_text().count("the closed-form fit took") == 1
    assert np.abs(weights(trained)[FIT]).sum() > 0
    path = str(trained / "Tiny_best.pdparams")
    assert run(project, tmp_path, "--test", "-w", path) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["similarity_weight"] > 0 and "first_stage" in results
    chance = results["chance"]["text_to_video"]["MeanR"]
    assert results["first_stage"]["text_to_video"]["MeanR"] != chance


def test_weights_without_the_fit_are_no_weights_for_a_test(project, trained, tmp_path, capsys):
    import paddle

    state = {name: x for name, x in weights(trained).items() if name != FIT}
    path = tmp_path / "w.pdparams"
    paddle.save(state, str(path))
    assert run(project, tmp_path, "--test", "-w", str(path)) != 0
    assert FIT in capsys.readouterr().err


def test_a_resumed_run_keeps_the_fit_and_a_new_one_fits_again(
    project, trained, tmp_path, monkeypatch
):
    assert run(project, tmp_path, changes=["max_iters=5", "save_steps=1"]) == 0
    calls = []
    fit = ActBert.fit
    monkeypatch.setattr(ActBert, "fit", lambda *a: (calls.append(1), fit(*a))[1])
    assert run(project, tmp_path, "--resume", "auto", changes=["max_iters=8"]) == 0
    assert not calls
    for name, array in weights(trained).items():
        if "chosen_weight" not in name:  # one of them was validated
            np.testing.assert_array_equal(array, weights(tmp_path)[name], err_msg=name)
    start = str(trained / "Tiny_epoch_00002.pdparams")
    assert run(project, tmp_path / "more", "-w", start, changes=["max_iters=1"]) == 0
    assert calls == [1]


def test_a_teacher_is_fitted_again_when_a_run_resumes(project, tmp_path):
    """Checkpoints do not contain what it needs; the run goes on as if it had not ended."""
    taught = ["MODEL.teacher_weight=0.5", "max_iters=8"]
    assert run(project, tmp_path / "one", changes=taught) == 0
    two = tmp_path / "two"
    assert run(project, two, changes=[*taught, "max_iters=5", "save_steps=1"]) == 0
    assert run(project, two, "--resume", "auto", changes=taught) == 0
    assert (two / "log.txt").read_text().count("the closed-form fit took") == 2
    for name, array in weights(tmp_path / "one").items():
        np.testing.assert_array_equal(array, weights(two)[name], err_msg=name)


def test_a_dry_run_of_a_teacher_needs_no_fit(project, tmp_path):
    assert run(project, tmp_path, "--dry_run", changes=["MODEL.teacher_weight=0.5"]) == 0


@pytest.mark.slow
def test_two_processes_fit_and_train_as_one(project):
    outputs = []
    for processes in (1, 2):
        outputs.append(project / f"ranks{processes}")
        changes = [
            *(f"output_dir={outputs[-1]}", f"DATASET.batch_size={4 // processes}", *NO_DROPOUT),
            # Else a clip meets captions of its own process's micro-batch, which differ.
            *("MODEL.match_negatives=3", "MODEL.hard_negatives=3"),
        ]
        launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", str(processes)]
        logs = ["--log_dir", str(project / f"log{processes}")]
        task = [str(ROOT / "main.py"), "-c", str(project / "tiny.yaml"), "-o", *changes]
        done = subprocess.run(
            [sys.executable, *launch, *logs, *task],
            cwd=project,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    one, two = map(weights, outputs)
    for name, array in one.items():
        if name.startswith("retrieval_head."):
            np.testing.assert_allclose(array, two[name], atol=1e-5, err_msg=name)
    assert np.abs(one[FIT]).sum() > 0
