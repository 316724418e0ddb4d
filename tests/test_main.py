"""main.py from end to end on a tiny data set, in this process."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from PIL import Image

from paddlevideo.cli import run as main
from paddlevideo.report import curves
from paddlevideo.safe_pickle import load_state
from tests.tiny_data import NO_DROPOUT, make_project

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A project that was trained for two epochs, with validation."""
    folder = tmp_path_factory.mktemp("trained")
    assert main.main(["-c", str(make_project(folder)), "--validate"]) == 0
    return folder


@pytest.fixture
def project(tmp_path):
    make_project(tmp_path)
    return tmp_path


def run(folder, *arguments):
    return main.main(["-c", str(folder / "tiny.yaml"), *arguments])


def weights_of(path):
    return load_state(path)


def assert_same_weights(first, second):
    a, b = weights_of(first), weights_of(second)
    assert set(a) == set(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], name)


def records_of(output):
    return [json.loads(line) for line in (output / "train.jsonl").read_text().splitlines()]


def losses_of(output):
    return [record["loss"] for record in records_of(output) if "loss" in record]


def accuracies_of(output):
    return [
        {name: value for name, value in record.items() if name.endswith("_accuracy")}
        for record in records_of(output)
        if "loss" in record
    ]


def test_training_writes_what_the_contract_names(trained):
    output = trained / "output"
    for name in (
        "Tiny_epoch_00001.pdparams",
        "Tiny_epoch_00002.pdopt",
        "Tiny_best.pdparams",
        "config.yaml",
        "log.txt",
        "train.jsonl",
        "curves.png",
    ):
        assert (output / name).is_file(), name
    assert list((output / "tensorboard").iterdir())
    log = (output / "log.txt").read_text()
    assert "epoch:[  1/2 ] train step:0 " in log
    for word in ("loss: ", "text_loss: ", "region_loss: ", "action_loss: ", "match_loss: "):
        assert word in log
    for word in ("lr: ", "batch_cost: ", "reader_cost: ", "ips: ", "eta: "):
        assert word in log
    assert len(losses_of(output)) == 8


def test_the_configuration_is_in_the_log_file_and_not_on_the_terminal(project, capsys):
    assert run(project, "--max_iters", "1") == 0
    shown, log = capsys.readouterr().out, (project / "output" / "log.txt").read_text()
    assert "INFO: configuration:\n" in log and "model_name: Tiny" in log
    assert "model_name: Tiny" not in shown and "epoch:[  1/2 ] train step:0 " in shown


def test_the_records_hold_accuracies_rates_times_and_validations(trained):
    records = records_of(trained / "output")
    steps = [record for record in records if "loss" in record]
    assert [record["step_total"] for record in steps] == list(range(1, 9))
    for record in steps:
        assert 0 <= record["match_accuracy"] <= 1
        assert record["lr"] == 1e-3 and "lr_lowest" not in record, "one rate for all"
        assert record["skipped_steps"] == 0 and "loss_scale" not in record
        for name in ("grad_norm", "batch_cost", "reader_cost", "ips", "memory_mb"):
            assert record[name] > 0, name
    found = {name for each in accuracies_of(trained / "output") for name in each}
    assert found == {f"{kind}_accuracy" for kind in ("word", "region", "action", "match")}
    validations = [record for record in records if "loss" not in record]
    assert [record["step_total"] for record in validations] == [4, 8]
    for record in validations:
        for direction in ("text_to_video", "video_to_text"):
            assert 0 <= record[f"valid.{direction}.R@10"] <= 100
            assert record[f"valid.{direction}.MedianR"] >= 1


@pytest.mark.usefixtures("rendered")
def test_the_curves_are_drawn_at_the_end_and_cover_a_resumed_run(project, monkeypatch):
    drawn = []
    draw = curves.draw
    monkeypatch.setattr(curves, "draw", lambda *given: drawn.append(given[2]) or draw(*given))
    assert run(project, "--max_iters", "3") == 0
    with (project / "output" / "train.jsonl").open("a") as file:
        file.write('{"epoch": 1, "step_to')  # as kill -9 may leave it
    assert run(project, "--validate", "--resume", "auto") == 0
    with Image.open(project / "output" / "curves.png") as image:
        assert image.format == "PNG" and len(np.unique(image)) > 10, "not empty"
    for panels in drawn:
        assert all(np.isfinite(line.y).all() for panel in panels for line in panel.lines)
    steps = [panels[0].lines[0].x.tolist() for panels in drawn]
    assert steps == [[1, 2, 3], list(range(1, 9))]


def test_a_picture_that_cannot_be_drawn_is_a_warning(project, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
        monkeypatch.delitem(sys.modules, name)
    assert run(project, "--max_iters", "1") == 0
    said = capsys.readouterr().out
    assert "curves.png is not drawn: the package matplotlib is not installed: pip install" in said
    assert not (project / "output" / "curves.png").exists()


def test_rates_that_differ_are_logged(project):
    assert run(project, "--max_iters", "1", "-o", "OPTIMIZER.layer_decay=0.5") == 0
    (record,) = records_of(project / "output")
    assert record["lr_highest"] == record["lr"] == 1e-3
    # Embeddings below two layers of text: three times the factor.
    assert record["lr_lowest"] == pytest.approx(1e-3 * 0.5**3)


def test_the_saved_configuration_repeats_the_run_bit_for_bit(trained, tmp_path):
    saved = trained / "output" / "config.yaml"
    assert main.main(["-c", str(saved), "-o", f"output_dir={tmp_path}", "keep=0"]) == 0
    assert_same_weights(
        trained / "output" / "Tiny_epoch_00002.pdparams", tmp_path / "Tiny_epoch_00002.pdparams"
    )


def test_weights_are_under_published_names_and_paddle_reads_them(trained):
    state = paddle.load(str(trained / "output" / "Tiny_best.pdparams"))
    assert "backbone.bert.encoder.c_layer.0.ent_attention.value_av.weight" in state
    assert "backbone.cls.predictions.decoder_weight" in state


def test_testing_writes_results_with_their_protocol(trained, tmp_path, capsys):
    output = f"output_dir={tmp_path}"
    weights = str(trained / "output" / "Tiny_best.pdparams")
    assert run(trained, "--test", "-w", weights, "-o", output, "score_matrix=True") == 0
    results = json.loads((tmp_path / "results.json").read_text())
    for direction in ("text_to_video", "video_to_text"):
        assert set(results[direction]) == {"R@1", "R@5", "R@10", "MedianR", "MeanR"}
    protocol = results["protocol"]
    assert protocol["captions"] == protocol["videos"] == 7
    assert protocol["ties"] and len(protocol["weights_sha256"]) == 64
    scores = np.load(tmp_path / "scores.npz")
    assert scores["scores"].shape == (7, 7)
    assert (scores["truth"] == np.arange(7)).all()
    assert "chance" in capsys.readouterr().out


def test_test_numbers_do_not_depend_on_how_pairs_are_chunked_into_batches(trained, tmp_path):
    weights = str(trained / "output" / "Tiny_best.pdparams")
    matrices = []
    for size in (1, 3):
        folder = tmp_path / str(size)
        changes = [f"output_dir={folder}", "score_matrix=True", f"DATASET.test_batch_size={size}"]
        assert run(trained, "--test", "-w", weights, "-o", *changes, "MODEL.pair_batch=4") == 0
        matrices.append(np.load(folder / "scores.npz")["scores"])
    np.testing.assert_allclose(*matrices, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_in_the_middle_of_an_epoch_equals_a_run_that_never_stopped(
    trained, project, workers
):
    changes = ["-o", f"DATASET.num_workers={workers}"]
    assert run(project, "--max_iters", "3", *changes) == 0
    assert run(project, "--resume", "auto", *changes) == 0
    assert_same_weights(
        trained / "output" / "Tiny_epoch_00002.pdparams",
        project / "output" / "Tiny_epoch_00002.pdparams",
    )


def test_a_float32_run_resumes_whatever_else_amp_says(project):
    """Until the default type was null, the base recipe named float16 in each run without --amp."""
    assert run(project, "-o", "amp.dtype=float16", "max_iters=3") == 0
    assert run(project, "--resume", "auto", "-o", "amp.dtype=null", "amp.level=O2") == 0
    assert (project / "output" / "Tiny_epoch_00002.pdparams").exists()
    # Mixed precision itself must be that of the checkpoint.
    assert run(project, "--resume", "auto", "-o", "amp.dtype=null", "amp.enable=True") == 2


def test_resume_epoch_goes_back_to_a_named_epoch(trained, project):
    shutil.copytree(trained / "output", project / "output", dirs_exist_ok=True)
    changes = ["-o", f"output_dir={project / 'output'}"]
    assert run(trained, *changes, "resume_epoch=1") == 0
    assert_same_weights(
        trained / "output" / "Tiny_epoch_00002.pdparams",
        project / "output" / "Tiny_epoch_00002.pdparams",
    )
    assert run(trained, *changes, "resume_epoch=7") == 1


def test_accumulated_batches_train_like_one_large_batch(project):
    off = NO_DROPOUT
    large, small = project / "large", project / "small"
    run(project, "-o", *off, f"output_dir={large}", "DATASET.batch_size=8", "epochs=1")
    run(
        project,
        "-o",
        *off,
        f"output_dir={small}",
        "DATASET.batch_size=2",
        "GRADIENT_ACCUMULATION.global_batch_size=8",
        "epochs=1",
    )
    first, second = losses_of(large), losses_of(small)
    assert len(first) == len(second) == 2
    np.testing.assert_allclose(first, second, rtol=1e-5)
    accuracies = accuracies_of(large)
    assert accuracies == accuracies_of(small) and all("word_accuracy" in a for a in accuracies)


def test_weights_start_a_training(trained, project):
    best = trained / "output" / "Tiny_best.pdparams"
    assert run(project, "-w", str(best), "--max_iters", "1", "-o", "OPTIMIZER.learning_rate=0") == 0
    assert_same_weights(best, project / "output" / "Tiny_epoch_00001.pdparams")


def test_validation_by_loss_where_there_is_no_gallery(project):
    config = yaml.safe_load((project / "tiny.yaml").read_text())
    config["DATASET"]["valid"] = config["DATASET"]["train"]
    config["PIPELINE"]["valid"] = config["PIPELINE"]["train"]
    del config["METRIC"]
    (project / "tiny.yaml").write_text(yaml.safe_dump(config))
    assert run(project, "--validate") == 0
    manifest = json.loads((project / "output" / "Tiny_best.json").read_text())
    assert 0 < manifest["progress"]["best"] < 10


def test_mixed_precision_on_a_cpu_warns_once_and_trains_in_float32(trained, project, capsys):
    assert run(project, "--amp", "--amp_level", "O2") == 0
    assert capsys.readouterr().out.count("mixed precision needs a GPU") == 1
    assert_same_weights(
        trained / "output" / "Tiny_epoch_00002.pdparams",
        project / "output" / "Tiny_epoch_00002.pdparams",
    )


def test_profiling_writes_a_trace_and_a_table(project, capsys):
    folder = project / "profile"
    assert run(project, "-p", f"batch_range=[1,3]; profile_path={folder}") == 0
    (trace,) = folder.glob("*.paddle_trace.json")
    names = [event.get("name", "") for event in json.loads(trace.read_text())["traceEvents"]]
    steps = sorted(name.split("[")[0] for name in names if name.startswith("ProfileStep"))
    assert steps == ["ProfileStep#1", "ProfileStep#2"]
    table = (folder / "table_rank0.txt").read_text()
    assert "Operator Summary" in table and "adamw" in table
    printed = capsys.readouterr().out
    assert "profile of steps 1 to 3" in printed and "Operator Summary" in printed


@pytest.mark.parametrize(
    "arguments, code, expected",
    [
        (["-o", "MODEL.backbone.hiden_size=3"], 2, "hidden_size"),
        (["-o", "device=gpu"], 2, "device=cpu"),
        (["--test"], 2, "-w WEIGHTS"),
        (["--test", "-w", "absent.pdparams"], 1, "absent.pdparams"),
        (["-w", "absent.pdparams"], 1, "absent.pdparams"),
        (["-o", "DATASET.train.file_path=absent.npy"], 2, "absent.npy"),
        (["--import", "no.such.module"], 2, "no.such.module"),
        (["-p", "batchrange=[1,3]"], 2, "batch_range"),
        (["-o", "DATASET.batch_size=99"], 2, "do not fill one step"),
        (["-o", "GRADIENT_ACCUMULATION.global_batch_size=6"], 2, "multiple of batch_size"),
        (["-o", "MODEL.backbone.v_feature_size=9"], 1, "image_feat has width 12"),
    ],
)
def test_a_users_mistake_is_one_clear_line(project, capsys, arguments, code, expected):
    assert run(project, *arguments) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ") and expected in error
    assert "Traceback" not in error


def test_help_and_import_load_no_paddle():
    check = (
        "import sys, main, paddlevideo\n"
        "from paddlevideo.cli import run\n"
        "try: run.parse_arguments(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'paddle' not in sys.modules, 'paddle was loaded'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--amp_level" in done.stdout


def test_a_bare_test_uses_the_msrvtt_configuration():
    assert main.parse_arguments(["--test", "-w", "x"]).config == "actbert_msrvtt.yaml"
    with pytest.raises(SystemExit):
        main.parse_arguments([])


def test_a_plain_locale_trains_and_writes_utf8(project):
    path = project / "tiny.yaml"
    config = yaml.safe_load(path.read_text("utf-8"))
    config["DATASET"]["train"]["data_prefix"] = "Küche 厨房"
    path.write_text(yaml.safe_dump(config, allow_unicode=True), "utf-8")
    command = [sys.executable, str(ROOT / "main.py"), "-c", str(path), "--max_iters", "1"]
    environment = {**os.environ, "LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Küche 厨房" in (project / "output" / "config.yaml").read_text("utf-8")
