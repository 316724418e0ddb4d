"""Mistakes of users: each gets one clear error from main.py, and no traceback."""

import pickle
import shutil

import lmdb
import numpy as np
import paddle
import pytest

from paddlevideo.cli import run as main
from tests.tiny_data import make_project


@pytest.fixture
def project(tmp_path):
    make_project(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    assert main.main(["-c", str(make_project(folder)), "--max_iters", "1"]) == 0
    return folder / "output" / "Tiny_epoch_00001.pdparams"


def fails(capsys, folder, *arguments):
    """Runs main.py, which fails, and returns its message."""
    code = main.main(["-c", str(folder / "tiny.yaml"), *arguments])
    error = capsys.readouterr().err
    assert code in (1, 2) and error.startswith("error: "), error
    assert "Traceback" not in error
    return error


def change_row(folder, number, field, value):
    rows = np.load(folder / "train.npy", allow_pickle=True)
    row = list(rows[number])
    row[field] = value(row[field])
    rows[number] = tuple(row)
    np.save(folder / "train.npy", rows, allow_pickle=True)


def with_value(value):
    def change(array):
        array = array.copy()
        array.flat[0] = value
        return array

    return change


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "field, value, expected",
    [
        (0, with_value(np.nan), "clip005"),
        (0, lambda array: array[:, :5], "clip005"),
        (1, lambda array: array[:-1] if len(array) > 1 else array[:0], "clip005"),
        (2, with_value(-50.0), "clip005"),
        (2, with_value(900.0), "clip005"),
        (8, with_value(np.inf), "clip005"),
    ],
    ids=["nan", "width", "rows", "box left", "box right", "infinite action"],
)
def test_a_bad_row_is_named(project, capsys, field, value, expected, workers):
    change_row(project, 5, field, value)
    error = fails(capsys, project, "-o", f"DATASET.num_workers={workers}")
    assert expected in error and "train.npy" in error


def test_a_clip_without_a_caption_is_named(project, capsys):
    change_row(project, 5, 7, lambda _: " ! ")
    error = fails(capsys, project)
    assert "clip005" in error and "blank" in error


def test_duplicate_clip_ids_are_named(project, capsys):
    change_row(project, 5, 6, lambda _: "clip002")
    error = fails(capsys, project)
    assert "clip002" in error and "train.npy" in error


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY\x01\x00"])
def test_an_empty_or_broken_training_file(project, capsys, content):
    (project / "train.npy").write_bytes(content)
    assert "train.npy" in fails(capsys, project)


def test_a_pickle_that_would_run_code_is_refused(project, capsys):
    class Attack:
        def __reduce__(self):
            return open, (str(project / "attacked"), "w")

    change_row(project, 5, 7, lambda _: Attack())
    error = fails(capsys, project)
    assert "train.npy" in error and "open" in error
    assert not (project / "attacked").exists()


def test_weights_that_would_run_code_are_refused(project, capsys):
    class Attack:
        def __reduce__(self):
            return open, (str(project / "attacked"), "w")

    path = project / "bad.pdparams"
    path.write_bytes(pickle.dumps({"w": Attack()}))
    error = fails(capsys, project, "--test", "-w", str(path))
    assert "bad.pdparams" in error
    assert not (project / "attacked").exists()


def test_an_unknown_clip_in_the_csv(project, capsys, weights):
    with (project / "test.csv").open("a") as file:
        file.write("video999,a clip that does not exist\n")
    error = fails(capsys, project, "--test", "-w", str(weights))
    assert "video999" in error and "test.csv" in error


def test_captions_that_the_vocabulary_lacks_are_told(project, capsys, weights):
    change_row(project, 5, 7, lambda _: "\U0001f600!a man")
    assert main.main(["-c", str(project / "tiny.yaml"), "--max_iters", "1"]) == 0
    out = capsys.readouterr().out
    assert "DATASET.train: vocabulary " in out and "only unknown words (clips clip005)" in out
    lines = (project / "test.csv").read_text().splitlines()
    lines = [line.partition(",")[0] + ",\U0001f600 \u732b man" for line in lines]
    (project / "test.csv").write_text("\n".join(lines), "utf-8")
    test = ["-c", str(project / "tiny.yaml"), "--test", "-w", str(weights)]
    assert main.main(test) == 0
    out = capsys.readouterr().out
    assert "DATASET.test: vocabulary " in out and "Choose a vocabulary for the captions" in out


def test_a_truncated_store(project, capsys, weights):
    data = project / "test.lmdb" / "data.mdb"
    data.write_bytes(data.read_bytes()[:5000])
    assert "test.lmdb" in fails(capsys, project, "--test", "-w", str(weights))


def test_a_damaged_record_is_named(project, capsys, weights):
    with lmdb.open(str(project / "test.lmdb"), map_size=1 << 24) as env, env.begin(write=True) as t:
        t.put(b"video3", t.get(b"video3")[:200])
    error = fails(capsys, project, "--test", "-w", str(weights))
    assert "video3" in error and "test.lmdb" in error


def test_weights_of_another_size(project, capsys, weights):
    change = ["-o", "MODEL.backbone.bi_hidden_size=32"]
    error = fails(capsys, project, "--test", "-w", str(weights), *change)
    assert "[16, 16] instead of [16, 32]" in error


@pytest.mark.parametrize("name", ["train.npy", "test.lmdb"])
def test_data_that_were_not_downloaded_are_called_what_they_are(project, capsys, weights, name):
    path = project / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 1\n" * 200)
    options = ["--test", "-w", str(weights)] if name == "test.lmdb" else []
    error = fails(capsys, project, *options)
    assert name in error and "git lfs pull" in error


def test_weights_that_are_not_weights(project, capsys):
    path = project / "empty.pdparams"
    path.write_bytes(b"")
    assert "empty.pdparams" in fails(capsys, project, "--test", "-w", str(path))
    paddle.save({"other": paddle.zeros([1])}, str(path))
    assert "no parameter of this model" in fails(capsys, project, "--test", "-w", str(path))


@pytest.mark.parametrize(
    "addition, expected",
    [
        ("epochs:\t3\n\tseed: 4\n", "tab"),
        ("epochs: 3\n", "epochs"),
        ("seed: [1\n", "tiny.yaml"),
        ("sed: 1\n", 'seed"'),
        ("max_iters: many\n", "max_iters"),
    ],
    ids=["tabs", "duplicate key", "syntax", "unknown key", "wrong type"],
)
def test_a_broken_configuration_names_its_line(project, capsys, addition, expected):
    path = project / "tiny.yaml"
    path.write_text(path.read_text() + addition)
    error = fails(capsys, project)
    assert expected in error and "tiny.yaml:" in error


def test_every_fault_is_reported_at_once(project, capsys):
    changes = ["MODEL.backbone.hiden_size=3", "DATASET.train.file_path=gone.npy", "epochs=none"]
    error = fails(capsys, project, "-o", *changes)
    for expected in ("hiden_size", "hidden_size", "gone.npy", "epochs"):
        assert expected in error


@pytest.mark.parametrize(
    "key, size, expected",
    [
        ("v_target_size", 3, "DATASET.train has 9 region classes: set MODEL.backbone.v_target_si"),
        ("v_target_size", 20, "DATASET.train has 9 region classes"),
        ("vocab_size", 30000, "DATASET.train has 30522 words in its vocabulary"),
        ("a_target_size", 3, "allows action classes 0 to 2"),
    ],
)
def test_sizes_that_the_data_do_not_fit_are_named_by_their_key(
    project, capsys, key, size, expected
):
    error = fails(capsys, project, "-o", f"MODEL.backbone.{key}={size}")
    assert f"MODEL.backbone.{key}" in error and str(size) in error and expected in error


@pytest.mark.parametrize("workers", [0, 2])
def test_an_action_class_beyond_the_models_is_named_with_its_clip(project, capsys, workers):
    change_row(project, 5, 9, lambda array: np.full_like(array, 7))
    error = fails(capsys, project, "-o", f"DATASET.num_workers={workers}", "DATASET.skip_bad=0.5")
    assert "clip005: action_target holds 7, but MODEL.backbone.a_target_size=7 allows" in error


def test_classes_that_are_not_asked_for_may_be_any(project):
    masks = [
        f"PIPELINE.train.transform.3.RandomMask.{name}_rate=0" for name in ("action", "region")
    ]
    sizes = ["MODEL.backbone.a_target_size=2", "MODEL.backbone.v_target_size=3"]
    arguments = ["-c", str(project / "tiny.yaml"), "--max_iters", "1", "-o"]
    assert main.main([*arguments, *masks, *sizes, "MODEL.backbone.vocab_size=40000"]) == 0


@pytest.mark.parametrize("mode", [["--validate"], ["--test"]])
def test_a_vocabulary_larger_than_the_models_is_named_for_every_split(
    project, capsys, weights, mode
):
    pieces = [*"abcdefgh", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces += [f"word{number}" for number in range(31_000)]
    (project / "vocab.txt").write_text("\n".join(pieces))
    split = "valid" if "--validate" in mode else "test"
    if split == "test":
        mode = [*mode, "-w", str(weights)]
    error = fails(
        capsys, project, *mode, "-o", f"DATASET.{split}.bert_model={project / 'vocab.txt'}"
    )
    assert f"MODEL.backbone.vocab_size is 30522, but DATASET.{split} has 31013 words" in error


def test_what_was_trained_before_a_damaged_clip_is_kept(project, capsys):
    options = ["-o", "DATASET.shuffle=False", "epochs=1"]
    change_row(project, 9, 0, with_value(np.nan))
    assert "clip009" in fails(capsys, project, *options)
    assert (project / "output" / "Tiny_step_00000002.json").is_file()
    again = ["-c", str(project / "tiny.yaml"), *options, "DATASET.skip_bad=0.1"]
    assert main.main([*again, "--resume", "auto"]) == 0
    assert "resumed step_00000002" in capsys.readouterr().out
