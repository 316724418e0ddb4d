"""tools/prepare_data.py as it is typed."""

import json

import cv2
import numpy as np
import pytest

from paddlevideo.cli import prepare_data
from paddlevideo.loader.store import FeatureStore
from paddlevideo.prepare import faults_of
from tests.extract.samples import write_video
from tests.loader.clips import make_clip, write
from tests.prepare.test_pack import damaged_store
from tests.tiny_data import write_retrieval_set


def run(capsys, *words):
    capsys.readouterr()
    code = prepare_data.main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_from_an_lmdb_to_a_store_and_back(tmp_path, capsys):
    write_retrieval_set(tmp_path, 5)
    store = tmp_path / "s"
    captions = ["--captions", tmp_path / "test.csv"]
    code, out, _ = run(
        capsys, "pack", tmp_path / "test.lmdb", *captions, "--output", store, "--dtype", "float32"
    )
    assert code == 0 and "5 clips, 5 captions" in out and "bytes a clip" in out
    code, out, _ = run(capsys, "validate", store, "--captions_needed")
    assert code == 0 and "faults: none" in out
    code, out, _ = run(capsys, "inspect", store, "--records", 1)
    assert code == 0 and 'clip 0: "video0"' in out
    code, out, _ = run(capsys, "convert", store, "--to", "lmdb", "--output", tmp_path / "b.lmdb")
    assert code == 0 and "5 records, 5 captions" in out
    code, _, err = run(capsys, "convert", store, "--to", "npy", "--output", tmp_path / "b.npy")
    assert code == 1 and "needs classes and a caption" in err


def test_what_the_vocabulary_lacks_is_told(tmp_path, capsys):
    write_retrieval_set(tmp_path, 3)
    (tmp_path / "c.csv").write_text(
        "video0,\u732b\U0001f600\nvideo1,a dog runs\nvideo2,\u200b\n", "utf-8"
    )
    source = [tmp_path / "test.lmdb", "--captions", tmp_path / "c.csv", "--output", tmp_path / "s"]
    told = "only unknown words (clips video0, video2). Choose a vocabulary"
    code, out, _ = run(capsys, "pack", *source)
    assert code == 0 and "vocabulary bert-base-uncased: " in out and told in out
    assert told in run(capsys, "inspect", tmp_path / "s")[1]
    code, out, _ = run(capsys, "validate", tmp_path / "s")
    assert code == 0 and told in out and "2 clips have a caption without a known word" in out
    code, out, _ = run(capsys, "validate", tmp_path / "s", "--captions_needed")
    assert code == 1 and "no known word 2" in out
    vocabulary = tmp_path / "vocab.txt"
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "\u732b",
        "\U0001f600",
        "a",
        "dog",
        "runs",
    ]
    vocabulary.write_text("\n".join(pieces), "utf-8")
    code, out, _ = run(capsys, "validate", tmp_path / "s", "--bert_model", vocabulary)
    assert "0.00% of 5 word pieces of 3 captions are unknown" in out and "(clips video2)" in out


def test_validate_exits_with_1_and_lists_what_is_wrong(tmp_path, capsys):
    damaged_store(tmp_path / "s")
    words = ["--json", tmp_path / "f.jsonl", "--fix", tmp_path / "t"]
    code, out, _ = run(capsys, "validate", tmp_path / "s", *words)
    assert code == 1 and "box 2" in out and "1 clips have no caption" in out
    faults = [json.loads(line) for line in (tmp_path / "f.jsonl").read_text().splitlines()]
    assert {"clip": "clip3", "kind": "class"}.items() <= faults[1].items()
    code, out, _ = run(capsys, "validate", tmp_path / "t")
    assert code == 0
    code, out, _ = run(capsys, "validate", tmp_path / "t", "--captions_needed")
    assert code == 1 and "no caption 1" in out


@pytest.mark.parametrize(
    "words, message",
    [
        (["pack", "nowhere.npy", "--output", "x"], "nowhere.npy: No such file"),
        (["pack", "s", "--output", "s"], "holds 1 clips that another command wrote"),
        (["validate", "nowhere"], "there is no such feature store"),
        (["inspect", "nowhere"], "there is no such feature store"),
        (["pack", "s", "--output", "file"], "file: is a file; expected the folder of a store"),
        (["validate", "s", "--fix", "file"], "file: is a file; expected the folder of a store"),
        (["validate", "s", "--json", "."], "error: .: Is a directory"),
        (["pack", "s", "--output", "file/x"], "error: file/x: Not a directory"),
        (["convert", "s", "--to", "npy", "--output", "."], ".: already exists"),
        (["convert", "s", "--to", "lmdb", "--output", "."], ".: already exists"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "s", [make_clip()])
    (tmp_path / "file").touch()
    code, _, err = run(capsys, *words)
    assert code == 1 and message in err and "Traceback" not in err


@pytest.mark.parametrize("command", ["", "pack", "validate", "inspect", "convert"])
def test_help_has_an_example(capsys, command):
    with pytest.raises(SystemExit) as stop:
        prepare_data.main([*command.split(), "--help"])
    assert stop.value.code == 0
    assert f"paddlevideo {command}".strip() in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, message",
    [
        (
            "pack a --output b --kept_mass 1.5",
            '--kept_mass: expected more than 0 and at most 1, got "1.5"',
        ),
        ("pack a --output b --shard_gigabytes nan", "--shard_gigabytes: expected more than 0, got"),
        ("pack a --output b --shard_gigabytes inf", "--shard_gigabytes: expected more than 0, got"),
        ("pack a --output b --skip_bad -1", '--skip_bad: expected 0 or more, got "-1"'),
        ("pack a --output /", "--output / is the root"),
        ("inspect a --records -1", "--records: expected 0 or more"),
        ("inspect a --clips 0", "--clips: expected 1 or more"),
    ],
)
def test_arguments_are_checked(capsys, words, message):
    with pytest.raises(SystemExit) as stop:
        prepare_data.main(words.split())
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_a_store_may_be_packed_into_the_folder_one_is_in(tmp_path, capsys, monkeypatch):
    write(tmp_path / "s", [make_clip()])
    (tmp_path / "t").mkdir()
    monkeypatch.chdir(tmp_path / "t")
    code, out, _ = run(capsys, "pack", "../s", "--output", ".")
    assert code == 0 and "1 clips" in out


def test_what_steers_a_terminal_is_shown_as_text(tmp_path, capsys):
    name = "a\x1b[31m\x9b"
    write(tmp_path / "s", [make_clip(0, name=name, captions=["b\x07\nc"], times=[])])
    code, out, _ = run(capsys, "inspect", tmp_path / "s")
    assert code == 0 and r'"a\x1b[31m\x9b"' in out and r"b\x07\nc" in out
    write(tmp_path / "t", [make_clip(0, name=name, captions=[], times=[])])
    code, out, _ = run(capsys, "validate", tmp_path / "t", "--captions_needed")
    assert code == 1 and r"\x9b" in out and "\x9b" not in out


def test_ctrl_c_while_modules_load_is_no_traceback(capsys, monkeypatch):
    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare_data, "parse_arguments", interrupt)
    code, out, err = run(capsys, "pack")
    assert (code, out) == (130, "")
    kept = "pack, and convert to a store, keep what is done"
    assert err == f"interrupted; run the same command again: {kept}\n"


def test_an_interrupted_validation_keeps_the_earlier_list(tmp_path, capsys, monkeypatch):
    store = damaged_store(tmp_path / "s")

    def some(opened):
        yield next(faults_of(store))
        raise KeyboardInterrupt

    monkeypatch.setattr("paddlevideo.prepare.faults_of", some)
    words = ["--captions_needed", "--json", tmp_path / "f.jsonl"]
    (tmp_path / "f.jsonl").write_text("an earlier list")
    code, out, _ = run(capsys, "validate", tmp_path / "s", *words)
    assert code == 130 and json.loads(out.splitlines()[0])["clip"] == "clip1"
    assert (tmp_path / "f.jsonl").read_text() == "an earlier list"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.jsonl", "s"]


def test_a_sheet_shows_frames_with_their_boxes(tmp_path, capsys):
    frame = np.full((60, 80, 3), 200, np.uint8)
    (tmp_path / "frames").mkdir()
    box = np.array([[80.0, 60, 240, 180]])  # of an image four times as large
    clips = [
        make_clip(0, name="seen", regions=1, boxes=box),
        make_clip(1, name="unseen", regions=1, boxes=box),
        make_clip(2, name="film_2_4", regions=1, boxes=box, captions=[], times=[], video="film"),
    ]
    write(tmp_path / "s", clips)
    cv2.imwrite(str(tmp_path / "frames" / "seen.png"), frame)
    cv2.imwrite(str(tmp_path / "frames" / "film.png"), frame)
    words = ["--sheet", tmp_path / "sheet.png", "--videos", tmp_path / "frames"]
    code, out, _ = run(capsys, "inspect", tmp_path / "s", "--records", 0, *words)
    assert code == 0 and "sheet.png: 2 clips" in out
    picture = cv2.imread(str(tmp_path / "sheet.png")).astype(int)
    # The first frame, 240 x 180 pixels at (10, 10): its box is a line at a quarter of either side.
    assert np.ptp(picture[100, 70]) > 100 and np.ptp(picture[55, 130]) > 100
    assert picture[40, 130].tolist() == [200, 200, 200]
    (tmp_path / "empty").mkdir()
    words = ["--sheet", tmp_path / "x.png", "--videos", tmp_path / "empty"]
    code, _, err = run(capsys, "inspect", tmp_path / "s", *words)
    assert code == 1 and "named after a clip or a video of" in err and '"seen.mp4"' in err
    code, _, err = run(capsys, "inspect", tmp_path / "s", "--sheet", tmp_path / "x.png")
    assert code == 1 and "folder with --videos" in err


def test_a_sheet_shows_the_regions_of_one_frame_and_that_frame(tmp_path, capsys):
    frames = [np.full((48, 64, 3), 20 * number, np.uint8) for number in range(1, 11)]
    film = write_video(tmp_path / "film.avi", frames, "MJPG")
    boxes = np.array([[0.0, 0, 320, 240], [80, 60, 240, 180], [160, 0, 320, 240]])
    about = {"source": str(film), "span": None, "extra": {"frames": "7 2 7"}}
    write(tmp_path / "s", [make_clip(0, name="a", boxes=boxes, **about)])
    for option in ([], ["--videos", tmp_path]):
        sheet = tmp_path / "sheet.png"
        code, out, _ = run(capsys, "inspect", tmp_path / "s", "--sheet", sheet, *option)
        picture = cv2.imread(str(sheet)).astype(int)
        assert code == 0 and "sheet.png: 1 clips" in out
        assert abs(picture[60, 40] - 160).max() < 6  # frame 7 of 0 to 9
        assert np.ptp(picture[100, 130]) > 100 and np.ptp(picture[100, 70]) < 10  # no box of 2


def test_a_sheet_that_cannot_be_is_told_first(tmp_path, capsys, monkeypatch):
    write(tmp_path / "s", [make_clip()])
    monkeypatch.setattr("paddlevideo.prepare.describe", lambda *_: pytest.fail("read first"))
    for words, message in (
        (["--sheet", "/dev/null/x.png"], "--sheet /dev/null/x.png: cannot be written"),
        (["--sheet", "x.png", "--videos", tmp_path / "absent"], "no such folder of videos"),
    ):
        code, _, err = run(capsys, "inspect", tmp_path / "s", *words)
        assert code in {1, 2} and message in err


def test_a_store_gets_another_dtype_and_other_shards(tmp_path, capsys):
    write(
        tmp_path / "s", [make_clip(number) for number in range(7)], vocabularies={"region": ["x"]}
    )
    words = ["--dtype", "float32", "--shards", 3, "--output", tmp_path / "t"]
    code, out, _ = run(capsys, "convert", tmp_path / "s", *words)
    assert code == 0 and "7 clips, 14 captions, 3 shards" in out
    store = FeatureStore(tmp_path / "t")
    assert [shard.clips for shard in store.manifest.shards] == [3, 3, 1]
    assert store.manifest.dtype == "float32" and store.manifest.vocabularies == {"region": ["x"]}
    assert [store[number].id for number in range(7)] == [f"clip{number}" for number in range(7)]
    code, out, _ = run(capsys, "validate", tmp_path / "t")
    assert code == 0
    for words in (["--to", "npy", "--shards", "2"], ["--shards", "0"]):
        with pytest.raises(SystemExit):
            prepare_data.parse_arguments(["convert", "s", "--output", "t", *words])
