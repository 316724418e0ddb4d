"""The metric of captioning: numbers, yardsticks, files and page of a test."""

from __future__ import annotations

import io
import json
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

from paddlevideo.captioning import CaptionMetric, TimedCaption, srt_text
from paddlevideo.captioning.metric import print_table, share_exact
from paddlevideo.loader.dataset.captioning import CaptionTruth
from paddlevideo.loader.tokenizer import load_tokenizer
from paddlevideo.metrics.captions import References
from paddlevideo.utils.errors import DataError
from tests.loader.clips import make_clip, write

REFERENCES = [
    ["cut the onion on a board", "chop an onion"],
    ["stir the soup in a large pot"],
    ["fry two eggs in butter"],
    ["peel the carrots with a knife"],
]


def predicted(captions):
    """Rows of ids as a head gives them."""
    tokenizer = load_tokenizer("bert-base-uncased")
    rows = np.zeros((len(captions), 20), np.int64)
    for row, caption in zip(rows, captions, strict=True):
        ids = tokenizer.encode(caption, 22)[1:-1]
        row[: len(ids)] = ids
    return {"words": rows, "scores": np.linspace(-1, -2, len(captions)).astype("float32")}


def evaluated(captions, **options):
    metric = CaptionMetric(**options)
    metric.update(np.arange(len(captions)), predicted(captions))
    return metric


TRUTH = CaptionTruth(REFERENCES, "bert-base-uncased")
CAPTIONS = ["chop an onion", "stir the soup", "fry an egg", "peel the carrots"]


def test_numbers_are_those_of_the_measures_in_percent_but_cider():
    results = evaluated(CAPTIONS).result(TRUTH)
    scores = References(REFERENCES).scores(CAPTIONS)
    assert results["CIDEr"] == pytest.approx(scores["CIDEr"])
    for name in ("BLEU-1", "BLEU-4", "ROUGE-L"):
        assert results[name] == pytest.approx(100 * scores[name])
    assert results["exact"] == 25
    assert results["METEOR"] == "not measured" or 0 < results["METEOR"] < 100


def test_meteor_stands_beside_the_others_where_it_can_be_measured(monkeypatch):
    monkeypatch.setattr("paddlevideo.captioning.metric.missing_for_meteor", lambda: "")
    monkeypatch.setattr("paddlevideo.captioning.metric.measured_meteor", lambda *given: 0.25)
    metric = evaluated(CAPTIONS)
    assert metric.result(TRUTH)["METEOR"] == 25
    assert not list(metric.warnings(None, False))


def test_a_test_says_what_meteor_lacks(monkeypatch):
    monkeypatch.setattr(
        "paddlevideo.captioning.metric.missing_for_meteor", lambda: "METEOR needs Java"
    )
    assert list(CaptionMetric().warnings(None, False)) == ["METEOR needs Java"]


def test_exact_captions_are_compared_by_their_words():
    assert share_exact(["Cut it!", "fry it"], [["stir", "cut it"], ["fry them"]]) == 0.5


def test_yardsticks(tmp_path):
    known = tmp_path / "known.csv"
    known.write_text("v1,cut the onion on a board\nv2,cut the onion on a board\n")
    perfect = [references[0] for references in REFERENCES]
    metric = evaluated(perfect, training_captions=str(known))
    own, beside = metric.result(TRUTH), metric.yardsticks(TRUTH)
    assert list(beside) == [
        "best constant caption", "captions on wrong clips", "random training caption"
    ]  # fmt: skip
    assert own["exact"] == 100 and beside["captions on wrong clips"]["exact"] == 0
    assert beside["captions on wrong clips"]["CIDEr"] < own["CIDEr"] / 4
    constant = References(REFERENCES).scores(["cut the onion on a board"] * 4)
    assert beside["random training caption"]["CIDEr"] == pytest.approx(constant["CIDEr"])
    assert beside["best constant caption"]["CIDEr"] >= constant["CIDEr"]
    assert "METEOR" not in beside["best constant caption"]


def test_one_clip_has_no_yardsticks():
    assert evaluated(CAPTIONS[:1]).yardsticks(TRUTH[:1]) == {}


def test_missing_captions():
    with pytest.raises(DataError, match="predictions for 1 of 4 samples are missing"):
        evaluated(CAPTIONS[:3]).result(TRUTH)


def dataset_of(features=None):
    return SimpleNamespace(
        truth=lambda: TRUTH, name_of=lambda index: f"clip{index}",
        describe=lambda: {"features": features},
    )  # fmt: skip


def content(metric, dataset, tmp_path):
    """The files of a test, by name."""
    answers = metric.answers(dataset)
    written = {}
    for name, writer in metric.files(dataset, answers, False).items():
        writer(tmp_path / name)
        written[name] = (tmp_path / name).read_bytes()
    return written


def test_files(tmp_path):
    files = content(evaluated(CAPTIONS), dataset_of(), tmp_path)
    assert list(files) == ["predictions.jsonl", "captions.json"]  # no times: no subtitles
    assert json.loads(files["captions.json"])[1] == {
        "image_id": "clip1",
        "caption": "stir the soup",
    }
    lines = [json.loads(line) for line in files["predictions.jsonl"].splitlines()]
    assert lines[0]["clip"] == "clip0" and lines[0]["references"] == REFERENCES[0]
    assert lines[0]["caption"] == "chop an onion" and lines[0]["log_probability"] == -1
    mean = sum(line["CIDEr"] for line in lines) / 4
    assert mean == pytest.approx(References(REFERENCES).scores(CAPTIONS)["CIDEr"], abs=1e-4)


def test_subtitles_of_one_video(tmp_path):
    spans = [(4.0, 6.5), (0.5, 2.0), (7.0, 8.0), (9.0, 9.5)]
    clips = [make_clip(n, video="v", span=span) for n, span in enumerate(spans)]
    write(tmp_path / "store", clips)
    files = content(evaluated(CAPTIONS), dataset_of(str(tmp_path / "store")), tmp_path)
    first, second, *_ = files["captions.srt"].decode().split("\n\n")
    assert first == "1\n00:00:00,500 --> 00:00:02,000\nstir the soup"
    assert second == "2\n00:00:04,000 --> 00:00:06,500\nchop an onion"


def test_subtitles_of_several_videos(tmp_path):
    clips = [make_clip(n, video=f"v{n % 2}", span=(n, n + 1.0)) for n in range(4)]
    write(tmp_path / "store", clips)
    files = content(evaluated(CAPTIONS), dataset_of(str(tmp_path / "store")), tmp_path)
    with zipfile.ZipFile(io.BytesIO(files["captions_srt.zip"])) as archive:
        assert archive.namelist() == ["v0.srt", "v1.srt"]
        assert archive.read("v1.srt").decode().count("-->") == 2


def test_times_of_subtitles():
    text = srt_text([TimedCaption(3599.9996, 36061.25, "two\nlines")])
    assert text == "1\n01:00:00,000 --> 10:01:01,250\ntwo lines\n"


def test_page(tmp_path):
    metric = evaluated(CAPTIONS)
    results = {
        **metric.result(TRUTH),
        "yardsticks": metric.yardsticks(TRUTH),
        "protocol": {"weights": "w.pdparams", **metric.protocol()},
    }
    page = tmp_path / "new" / "report.html"
    metric.write_page(page, results, metric.answers(dataset_of()), None)
    text = page.read_text("utf-8")
    for shown in ("best constant caption", "chop an onion", "clip3", "✓ exact", "CIDEr-D"):
        assert shown in text
    assert f"CIDEr {results['CIDEr']:.2f} on 4 clips" in text
    assert "<script" not in text


def test_the_table_shows_the_yardsticks(capsys):
    print_table(
        {"CIDEr": 0.5, "METEOR": "not measured", "yardsticks": {"constant": {"CIDEr": 0.1}}}
    )
    shown = capsys.readouterr().out
    assert "0.50" in shown and "not measured" in shown and "0.10" in shown
