"""tools/export_model.py and tools/predict.py, one after the other as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import paddle
import pytest
import yaml

import paddlevideo as pv
from paddlevideo.cli import export_model, predict
from paddlevideo.loader import build_dataset
from tests import tiny_data

ROOT = Path(__file__).parents[2]
CAPTIONS = ["a man cuts the onion", "dog", "the red soup, then the dog slowly stirs"]
CLIPS = 7


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Data, weights with a spread of scores, and their export with a retrieval head."""
    folder = tmp_path_factory.mktemp("project")
    path = tiny_data.make_project(folder, videos=CLIPS)
    config = yaml.safe_load(path.read_text())
    config["MODEL"]["retrieval_head"] = {"name": "RetrievalHead", "width": 8}
    path.write_text(yaml.safe_dump(config))
    paddle.seed(3)
    model = pv.build_model(config["MODEL"])
    rng = np.random.default_rng(0)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.set_value(rng.normal(0, 0.3, parameter.shape).astype("float32"))
    paddle.save(model.to_released(model.state_dict()), str(folder / "weights.pdparams"))
    assert export(folder) == 0
    write_misfits(folder)
    return folder


def write_misfits(folder):
    """Features and a vocabulary that are not the model's."""
    lmdb.open(str(folder / "empty.lmdb")).close()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog"]
    (folder / "words.txt").write_text("\n".join(words))
    (folder / "wide").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_data, "REGION_SIZE", 13)
        tiny_data.write_retrieval_set(folder / "wide", 2)


def export(folder, *more, output="exported"):
    arguments = ["-c", str(folder / "tiny.yaml"), "-w", str(folder / "weights.pdparams")]
    # An export needs no data.
    without = f"DATASET.test.file_path={folder / 'absent.csv'}"
    return export_model.main([*arguments, "--output", str(folder / output), "-o", without, *more])


def run(folder, *captions, model="exported", features="test.lmdb"):
    places = ["--model", str(folder / model), "--features", str(folder / features)]
    return predict.main([*captions, *places, "--num_threads", "1"])


def live_order(folder, captions):
    """Scores of the live model, margins and similarities, (captions, clips), and the clips."""
    config = pv.load_config(str(folder / "tiny.yaml"))
    model = pv.build_model(config.MODEL)
    pv.load_weights(model, folder / "weights.pdparams")
    model.eval()
    dataset = build_dataset(config.DATASET.test)
    dataset.captions = captions
    videos = model.encode_videos(next(iter(dataset.context())))
    scores = []
    for number in range(len(captions)):
        row = dataset[number]
        cache = model.encode_captions({key: np.asarray(x)[None] for key, x in row.items()})
        margins = model.scorer.pair_margins(cache, videos)
        similarities = (cache.vector @ videos.vector.t() * model.retrieval_head.scale)[0]
        scores.append((margins + similarities).numpy())
    return np.stack(scores), dataset.video_ids


def test_the_order_is_that_of_the_live_model(project, capsys):
    scores, names = live_order(project, CAPTIONS)
    assert scores.std(axis=1).min() > 1e-2
    for pair_batch in ("64", "3"):
        capsys.readouterr()
        options = ("--json", "--best", str(CLIPS), "--pair_batch", pair_batch)
        assert run(project, *CAPTIONS, *options) == 0
        found = json.loads(capsys.readouterr().out)
        assert [answer["caption"] for answer in found] == CAPTIONS
        for row, answer in zip(scores, found, strict=True):
            order = np.argsort(-row)
            assert [best["clip"] for best in answer["best"]] == [names[i] for i in order]
            np.testing.assert_allclose([b["score"] for b in answer["best"]], row[order], atol=1e-4)


def test_a_pipe_gets_lines_with_tabs(project, capsys):
    assert run(project, CAPTIONS[0], "--best", "2") == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [(line[0], line[3]) for line in lines] == [("1", CAPTIONS[0]), ("2", CAPTIONS[0])]
    assert float(lines[0][1]) >= float(lines[1][1]) and lines[0][2].startswith("video")


def test_a_terminal_gets_a_table(project, capsys, monkeypatch):
    monkeypatch.setattr(predict.sys.stdout, "isatty", lambda: True, raising=False)
    predict.print_answers(["a [red] dog"], [[("video1", 2.5)]], as_json=False)
    out = capsys.readouterr().out
    assert "a [red] dog" in out and "video1" in out and "2.5000" in out and "rank" in out


def test_a_narrow_terminal_folds_a_clips_id(capsys, monkeypatch):
    monkeypatch.setattr(predict.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    predict.print_answers(["a dog"], [[("a_clip_with_a_very_long_id_001", 2.5)]], as_json=False)
    out = capsys.readouterr().out
    assert "…" not in out and "001" in out


def test_neither_the_models_code_nor_its_weights_are_used(project):
    arguments = ["--model", str(project / "exported"), "--features", str(project / "test.lmdb")]
    code = (
        "import sys; from paddlevideo.cli import predict\n"
        f"assert predict.main({['a dog', *arguments]!r}) == 0\n"
        "assert not [m for m in sys.modules if m.startswith('paddlevideo.modeling')]\n"
    )
    (project / "weights.pdparams").rename(project / "away")
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
        )
    finally:
        (project / "away").rename(project / "weights.pdparams")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 5


def test_a_long_caption_is_cut_aloud(project, capsys):
    assert run(project, "dog " * 20) == 0
    assert "is truncated to 14 pieces" in capsys.readouterr().err


@pytest.mark.parametrize("caption", ["\U0001f600", "\u200b", "\u6d0b\u8471"])
def test_a_caption_that_says_nothing_is_refused(project, capsys, caption):
    found = ["--model", str(project / "exported"), "--features", str(project / "test.lmdb")]
    assert predict.main([CAPTIONS[0], caption, *found]) == 2
    out, err = capsys.readouterr()
    assert out == "" and ("is empty" in err or "[UNK]" in err)


def test_the_configuration_beside_the_weights_is_the_default(project, tmp_path, capsys):
    weights = tmp_path / "weights.pdparams"
    weights.symlink_to(project / "weights.pdparams")
    arguments = ["-w", str(weights), "--output", str(tmp_path / "exported")]
    assert export_model.main(arguments) == 2
    assert "config.yaml: -c FILE names the configuration" in capsys.readouterr().err
    beside = pv.load_config(str(project / "tiny.yaml"))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(beside.to_dict()))
    assert export_model.main(arguments) == 0


def test_a_second_export_is_allowed_and_other_folders_are_not(project, capsys):
    assert export(project, output="twice") == 0
    assert export(project, output="twice") == 0
    assert "wrote" in capsys.readouterr().out
    (project / "twice" / "notes.txt").write_text("mine")
    assert export(project, output="twice") == 2
    assert "notes.txt" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["DATASET.test=null", "DATASET.valid=null"], 2, "neither DATASET.test nor"),
        (["DATASET.test.max_seq_length=30"], 1, "max_position_embeddings"),
        (["MODEL.backbone.tangel=paper"], 2, "Did you mean"),
        (["MODEL.retrieval_head.similarity_weight=auto"], 1, "no validation has chosen"),
    ],
)
def test_an_export_that_cannot_be_is_explained(project, capsys, more, code, message):
    assert export(project, *more, output="never") == code
    assert message in capsys.readouterr().err
    assert not (project / "never").exists()


def test_missing_weights_are_explained(project, capsys):
    arguments = ["-c", str(project / "tiny.yaml"), "--output", str(project / "never")]
    assert export_model.main([*arguments, "-w", str(project / "absent.pdparams")]) == 1
    assert "no such weight file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("places", "more", "code", "message"),
    [
        ({"model": "absent"}, [], 1, "is not an exported model"),
        ({"features": "absent.lmdb"}, [], 1, "Check the path of the features"),
        ({"features": "empty.lmdb"}, [], 1, "contains no clips"),
        ({"features": "wide/test.lmdb"}, [], 1, "features have width 13, but the model in"),
        ({}, ["--vocabulary", "words.txt"], 2, "set --vocabulary"),
        ({}, ["--device", "gpu"], 2, "a GPU was requested"),
    ],
)
def test_what_does_not_fit_is_explained(project, capsys, places, more, code, message):
    more = [str(project / word) if word.endswith(".txt") else word for word in more]
    assert run(project, "a dog", *more, **places) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["  "], ["a dog", "--best", "0"]])
def test_a_wrong_command_line_ends_with_2(project, arguments):
    with pytest.raises(SystemExit) as caught:
        run(project, *arguments)
    assert caught.value.code == 2


def test_a_score_that_is_no_number_names_its_clip():
    with pytest.raises(ValueError, match='clip "b"'):
        predict.check_finite(np.array([[1.0, np.nan]]), ["a", "b"], "x.lmdb")


def test_a_file_in_the_place_of_an_exported_folder(project, capsys):
    assert run(project, "dog", model="weights.pdparams") == 1
    assert "weights.pdparams is a pickle" in capsys.readouterr().err
