"""Retrieval tests by main.py: two stages, what they write, and resuming an interrupted one."""

import json
import os
import sys

import numpy as np
import pytest
import yaml

from paddlevideo.cli import run as main
from paddlevideo.loader.build import SampleReader
from paddlevideo.loader.dataset.retrieval import RetrievalDataset
from paddlevideo.metrics.collector import RowCollector
from paddlevideo.modeling import ActBert
from paddlevideo.report import read_queries
from paddlevideo.retrieval import ranks
from paddlevideo.retrieval.test import MarginPredictor
from paddlevideo.tasks import saved_rows
from paddlevideo.tasks.saved_rows import differences, pack, unpack
from tests.tiny_data import make_project

VIDEOS = 7
HEAD = ["MODEL.retrieval_head.name=RetrievalHead", "MODEL.retrieval_head.width=8"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A project whose recipe has a retrieval head, and leaves its weight to the validation."""
    folder = tmp_path_factory.mktemp("head")
    path = make_project(folder, videos=VIDEOS)
    recipe = yaml.safe_load(path.read_text())
    recipe["MODEL"]["retrieval_head"] = {
        "name": "RetrievalHead",
        "width": 8,
        "similarity_weight": "auto",
    }
    path.write_text(yaml.safe_dump(recipe))
    assert main.main(["-c", str(path), "--validate"]) == 0
    return folder


def test_run(trained, output, *changes, flags=()):
    weights = str(trained / "output" / "Tiny_best.pdparams")
    code = main.main(
        ["--test", "-c", str(trained / "tiny.yaml"), "-w", weights, *flags]
        + ["-o", f"output_dir={output}", *changes]
    )
    assert code == 0
    return json.loads((output / "results.json").read_text())


test_run.__test__ = False
WEIGHT_0 = "MODEL.retrieval_head.similarity_weight=0"


def test_a_validation_chose_the_weight_which_the_test_uses(trained, tmp_path):
    results = test_run(trained, tmp_path)
    chosen = [
        record["valid.similarity_weight"]
        for record in map(json.loads, (trained / "output" / "train.jsonl").open())
        if "valid.similarity_weight" in record
    ]
    assert results["similarity_weight"] in chosen
    assert set(results["first_stage"]) == {"text_to_video", "video_to_text"}
    assert results["stages"]["pairs_scored"] == VIDEOS * VIDEOS


def test_the_page_says_how_many_of_the_pairs_were_scored(trained, tmp_path):
    page = tmp_path / "page.html"
    results = test_run(trained, tmp_path, "MODEL.top_k=3", flags=("--report", str(page)))
    scored = results["stages"]["pairs_scored"]
    assert f"{scored} of {VIDEOS * VIDEOS} pairs scored" in page.read_text("utf-8")


def test_two_stages_say_what_they_cost_and_let_through(trained, tmp_path, capsys):
    results = test_run(trained, tmp_path, "MODEL.top_k=3")
    assert VIDEOS * 3 <= results["stages"]["pairs_scored"] < VIDEOS * VIDEOS
    assert set(results["stages"]) == {
        *("gallery_seconds", "first_stage_seconds", "scoring_seconds", "pairs_scored"),
    }
    one_way = test_run(trained, tmp_path / "1", "MODEL.top_k=[3, 0]")
    assert one_way["stages"]["pairs_scored"] == VIDEOS * 3
    assert one_way["text_to_video"] == results["text_to_video"]
    ceiling = results["first_stage"]["text_to_video"]["R@3"]
    assert results["text_to_video"]["R@1"] <= ceiling <= 100
    output = capsys.readouterr().out
    assert "first stage alone" in output and "pairs scored in" in output
    assert "the first stage's 3 best contain a correct answer for" in output


def counted(monkeypatch, owner, name):
    """The arguments of every call of ``owner.name`` from now on."""
    really, calls = getattr(owner, name), []

    def call(*arguments):
        calls.append(arguments)
        return really(*arguments)

    monkeypatch.setattr(owner, name, call)
    return calls


@pytest.mark.parametrize("top_k", [0, 3])
def test_two_stages_read_encode_and_rank_once(trained, tmp_path, monkeypatch, top_k):
    read = counted(monkeypatch, SampleReader, "read")
    encoded = counted(monkeypatch, ActBert, "encode_captions")
    truths = counted(monkeypatch, RetrievalDataset, "truth")
    sorted_rows = counted(monkeypatch, RowCollector, "in_order")
    by_vectors = counted(monkeypatch, ranks, "first_stage_ranks")
    by_weight = [
        counted(monkeypatch, kind, "_compute_ranks") for kind in (ranks.AllPairs, ranks.ListedPairs)
    ]
    page = ["--report", str(tmp_path / "page.html")]
    results = test_run(trained, tmp_path, f"MODEL.top_k={top_k}", "score_matrix=True", flags=page)
    assert sorted(index for _, _, index in read) == list(range(VIDEOS))
    captions = [index for _, batch in encoded for index in batch["index"].tolist()]
    assert sorted(captions) == list(range(VIDEOS))
    assert len(truths) == len(by_vectors) == 1
    assert len(sorted_rows) == 2, "the vectors and the scores"
    weights = [weight for calls in by_weight for _, weight in calls]
    assert sorted(weights) == sorted({0.0, results["similarity_weight"]}), "once a weight"


def test_k_of_the_whole_gallery_with_weight_0_is_one_stage(trained, tmp_path):
    whole = test_run(trained, tmp_path / "1", WEIGHT_0)
    some = test_run(trained, tmp_path / "2", WEIGHT_0, f"MODEL.top_k={VIDEOS}")
    plain = test_run(trained, tmp_path / "3", "MODEL.retrieval_head=null")
    for way in ("text_to_video", "video_to_text"):
        assert whole[way] == some[way] == plain[way]
    lines = [(tmp_path / n / "queries.jsonl").read_text() for n in "123"]
    assert lines[0] == lines[1] == lines[2]


def test_mixed_precision_is_asked_for_in_a_test_too(trained, tmp_path, capsys):
    results = test_run(trained, tmp_path, flags=["--amp"])
    assert results["protocol"]["mixed_precision"] is False
    output = capsys.readouterr().out
    assert output.count("mixed precision needs a GPU; computing in float32 on cpu") == 1


def test_a_gallery_that_is_streamed_gives_the_same_numbers(trained, tmp_path):
    for number, top_k in enumerate((0, 3)):
        held = test_run(trained, tmp_path / f"h{number}", f"MODEL.top_k={top_k}")
        changes = [f"MODEL.top_k={top_k}", "MODEL.gallery_gigabytes=1e-9"]
        streamed = test_run(trained, tmp_path / f"s{number}", *changes)
        assert streamed["text_to_video"] == held["text_to_video"]


@pytest.mark.parametrize("top_k", [0, 3])
def test_distractors_are_ranked_and_are_no_queries(trained, tmp_path, top_k):
    lines = (trained / "test.csv").read_text().splitlines()
    some = tmp_path / "some.csv"
    some.write_text("\n".join([lines[4], lines[1], lines[5]]) + "\n")
    page = tmp_path / "page.html"
    captions = [f"DATASET.test.file_path={some}", f"MODEL.top_k={top_k}", "score_matrix=True"]
    gallery = [*captions, "DATASET.test.gallery=all"]
    results = test_run(trained, tmp_path / "all", *gallery, flags=["--report", str(page)])
    alone = test_run(trained, tmp_path / "alone", *captions)
    protocol = results["protocol"]
    assert (protocol["captions"], protocol["videos"], protocol["distractors"]) == (3, VIDEOS, 4)
    assert results["chance"]["text_to_video"]["MeanR"] == (VIDEOS + 1) / 2
    assert results["chance"]["video_to_text"] == alone["chance"]["video_to_text"]
    if top_k == 0:  # every clip is ranked among the captions, which are the same
        assert results["video_to_text"] == alone["video_to_text"]
        arrays = np.load(tmp_path / "all" / "scores.npz")
        assert arrays["video_ids"].tolist()[:3] == ["video4", "video1", "video5"]
        assert sorted(arrays["video_ids"].tolist()) == sorted(f"video{n}" for n in range(VIDEOS))
        assert arrays["scores"].shape == (3, VIDEOS)
        found = ranks.retrieval_metrics(arrays["scores"], arrays["truth"])
        assert found["text_to_video"] == results["text_to_video"]
    queries = read_queries(tmp_path / "all" / "queries.jsonl")
    assert [query.query for query in queries[3:]] == ["video4", "video1", "video5"]
    known = {f"video{number}" for number in range(VIDEOS)}
    assert all(answer.name in known for query in queries[:3] for answer in query.best)
    assert f"among {VIDEOS} videos" in page.read_text("utf-8")


def test_every_query_is_written_with_its_rank_and_best_answers(trained, tmp_path):
    results = test_run(trained, tmp_path, "score_matrix=True")
    queries = read_queries(tmp_path / "queries.jsonl")
    arrays = np.load(tmp_path / "scores.npz")
    by_text = [query for query in queries if query.direction == "text_to_video"]
    assert [query.query for query in by_text] == arrays["captions"].tolist()
    assert np.mean([query.rank for query in by_text]) == results["text_to_video"]["MeanR"]
    for row, query in zip(arrays["scores"], by_text, strict=True):
        assert [found.score for found in query.best] == pytest.approx(
            sorted(row, reverse=True), abs=1e-3
        )
        assert [found.right for found in query.best].count(True) == 1
    by_video = [query for query in queries if query.direction == "video_to_text"]
    assert [query.query for query in by_video] == arrays["video_ids"].tolist()
    assert np.mean([query.rank for query in by_video]) == results["video_to_text"]["MeanR"]


def test_the_dual_softmax_comes_on_request_only(trained, tmp_path, capsys):
    assert "dual_softmax" not in test_run(trained, tmp_path)
    capsys.readouterr()
    results = test_run(trained, tmp_path, "METRIC.dual_softmax=True")
    assert set(results["dual_softmax"]) == {"text_to_video", "video_to_text"}
    output = capsys.readouterr().out
    assert "dual softmax (see below)" in output and "cannot be compared with others" in output


def test_a_report_is_one_page(trained, tmp_path):
    page = tmp_path / "report.html"
    test_run(trained, tmp_path, flags=["--report", str(page), "--videos", str(tmp_path)])
    assert page.read_text().lower().startswith("<!doctype html>")


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--test", "--videos", "nowhere"], "--videos: there is no folder nowhere"),
        (
            ["--test", "--report", "/dev/null/x.html"],
            "--report /dev/null/x.html: cannot be written",
        ),
        (["--report", "page.html"], "--report and --videos belong to --test"),
    ],
)
def test_flags_of_the_report_are_checked(trained, capsys, monkeypatch, flags, message):
    module = sys.modules["paddlevideo.tasks.test"]
    monkeypatch.setattr(module, "start_run", lambda *_: pytest.fail("began first"))
    weights = str(trained / "output" / "Tiny_best.pdparams")
    try:
        code = main.main(["-c", str(trained / "tiny.yaml"), "-w", weights, *flags])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert message in capsys.readouterr().err


# ----------------------------------------------------------------- after an interruption


@pytest.fixture(params=[0, 3], ids=["one stage", "two stages"])
def interrupted(request, trained, tmp_path, monkeypatch):
    """A test that Ctrl-C stopped after two of its four batches; and what it predicts later."""
    calls = []
    predict = MarginPredictor.predict

    def counted(self, batch):
        if len(calls) == 2 and not calls_after:
            raise KeyboardInterrupt
        calls.append(batch["index"].tolist())
        return predict(self, batch)

    calls_after: list[bool] = []
    monkeypatch.setattr(MarginPredictor, "predict", counted)
    changes = [f"output_dir={tmp_path}", f"MODEL.top_k={request.param}"]
    weights = str(trained / "output" / "Tiny_best.pdparams")
    arguments = ["--test", "-c", str(trained / "tiny.yaml"), "-w", weights, "-o", *changes]
    assert main.main(arguments) == 130
    assert not (tmp_path / "results.json").exists()
    calls.clear()
    calls_after.append(True)
    return changes[1], calls


def test_an_interrupted_test_continues_from_the_rows_it_has(trained, tmp_path, interrupted, capsys):
    change, calls = interrupted
    results = test_run(trained, tmp_path, change, flags=["--resume", "auto"])
    assert calls == [[4, 5], [6]], "batches that are done are not computed again"
    assert "resumed the test: 4 samples are already done" in capsys.readouterr().out
    assert not (tmp_path / saved_rows.FOLDER).exists()
    whole = test_run(trained, tmp_path / "whole", change)
    for name in ("text_to_video", "video_to_text", "first_stage", "chance"):
        assert results[name] == whole[name]
    text = "queries.jsonl"
    assert (tmp_path / text).read_text() == (tmp_path / "whole" / text).read_text()


def test_without_resume_the_rows_are_dropped_and_that_is_said(
    trained, tmp_path, interrupted, capsys
):
    change, calls = interrupted
    test_run(trained, tmp_path, change)
    assert len(calls) == 4
    assert "--resume auto would continue from them" in capsys.readouterr().out


def test_rows_of_another_test_are_never_mixed_in(trained, tmp_path, interrupted, capsys):
    _, calls = interrupted
    test_run(trained, tmp_path, "MODEL.pair_batch=5", flags=["--resume", "auto"])
    assert len(calls) == 4
    assert "rows of another test (MODEL.pair_batch" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["test.csv", "test.lmdb/data.mdb"])
def test_rows_of_inputs_that_were_replaced_are_not_mixed_in(
    trained, tmp_path, interrupted, capsys, name
):
    change, calls = interrupted
    path = trained / name
    content, status = path.read_bytes(), path.stat()
    path.write_bytes(content + b"\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    try:
        test_run(trained, tmp_path, change, flags=["--resume", "auto"])
    finally:
        path.write_bytes(content)
    assert len(calls) == 4
    assert "rows of another test (inputs)" in capsys.readouterr().out


def test_damaged_rows_are_computed_again(trained, tmp_path, interrupted, capsys):
    change, calls = interrupted
    files = sorted((tmp_path / saved_rows.FOLDER).glob("rank0_*.npz"))
    files[0].write_bytes(files[0].read_bytes()[:50])
    test_run(trained, tmp_path, change, flags=["--resume", "auto"])
    assert calls == [[0, 1], [4, 5], [6]]
    assert "is damaged" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["--resume", "auto"], ["--resume"]])
def test_resume_without_rows_says_so(trained, tmp_path, capsys, flags):
    test_run(trained, tmp_path, flags=flags)
    assert "no interrupted test" in capsys.readouterr().out


@pytest.mark.parametrize(
    "predictions",
    [
        np.arange(6.0).reshape(2, 3),
        [np.arange(3.0), np.arange(1.0)],
        ["a dog", "two dogs"],
        {"loss": np.arange(2.0), "text_loss": np.ones(2)},
        {"segments": [np.ones((3, 2)), np.ones((1, 2))], "caption": ["a dog", "two dogs"]},
    ],
)
def test_predictions_of_every_kind_are_kept(tmp_path, predictions):
    np.savez(tmp_path / "rows.npz", index=[0, 1], **pack(predictions))
    with np.load(tmp_path / "rows.npz") as file:
        restored = unpack(file)
    assert type(restored) is type(predictions)
    named = predictions if isinstance(predictions, dict) else {"": predictions}
    restored = restored if isinstance(restored, dict) else {"": restored}
    for name, rows in named.items():
        assert type(restored[name]) is type(rows)
        for first, second in zip(restored[name], rows, strict=True):
            np.testing.assert_array_equal(first, second)


def test_predictions_that_cannot_be_kept_are_left_out():
    assert pack("something else") is None
    assert pack({"words": np.array([None])}) is None
    assert pack([{"word": "a"}, {"word": "b"}]) is None
    assert pack({"boxes": [np.ones((1, 4)), np.ones((1, 5))]}) is None
    with pytest.raises(KeyError):
        unpack({"index": np.arange(2), "something": np.arange(2)})


def test_differences_are_named():
    assert list(differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 0})) == [
        "a.c",
        "d",
    ]
    assert list(differences(None, {"a": 1})) == ["no key"]
