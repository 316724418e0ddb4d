"""tools/search.py: the best clips for a sentence, by an index on the disk."""

import html
import io
import json
import logging
import os
import re
from dataclasses import replace

import numpy as np
import paddle
import pytest
import yaml

from paddlevideo.cli import run as main
from paddlevideo.cli import search
from paddlevideo.loader.clips.gallery import ClipReader
from paddlevideo.loader.store import FeatureStore, StoreWriter
from paddlevideo.prepare import PackOptions, pack
from paddlevideo.report import read_queries
from paddlevideo.retrieval import model as model_module
from paddlevideo.retrieval import search as search_module
from paddlevideo.utils.errors import ConfigError
from tests.tiny_data import make_project

VIDEOS = 7


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    path = make_project(folder, videos=VIDEOS)
    recipe = yaml.safe_load(path.read_text())
    recipe["MODEL"]["retrieval_head"] = {"name": "RetrievalHead", "width": 8}
    recipe["epochs"] = 1
    path.write_text(yaml.safe_dump(recipe))
    assert main.main(["-c", str(path)]) == 0
    weights = str(folder / "output" / "Tiny_epoch_00001.pdparams")
    out = ["-o", f"output_dir={folder / 'test'}"]
    assert main.main(["--test", "-c", str(path), "-w", weights, *out]) == 0
    return folder


@pytest.fixture(autouse=True)
def quiet():
    """main.py logs to standard output, in this process too."""
    logging.getLogger("paddlevideo").handlers.clear()


def arguments(trained, *more):
    weights = trained / "output" / "Tiny_epoch_00001.pdparams"
    return ["-w", str(weights), "--features", str(trained / "test.lmdb"), *more]


def run(capsys, *words):
    capsys.readouterr()
    assert search.main(list(words)) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_search_finds_what_the_test_found(trained, tmp_path, capsys):
    queries = read_queries(trained / "test" / "queries.jsonl")
    captions = [query for query in queries if query.direction == "text_to_video"]
    flags = ["--json", "--index", str(tmp_path), *(query.query for query in captions)]
    found = run(capsys, *arguments(trained, *flags))
    for query, answer in zip(captions, found, strict=True):
        assert answer["sentence"] == query.query
        clips = answer["clips"]
        assert [clip["clip"] for clip in clips] == [best.name for best in query.best]
        scores = [clip["score"] for clip in clips]
        assert scores == pytest.approx([best.score for best in query.best], abs=1e-3)
        for clip in clips:
            assert clip["score"] == pytest.approx(clip["margin"] + clip["similarity"], abs=1e-4)


def test_a_second_search_reads_only_the_candidates(trained, tmp_path, capsys, monkeypatch):
    words = arguments(trained, "--json", "--index", str(tmp_path), "--candidates", "2", "a dog")
    first = run(capsys, *words)
    read = encodings(monkeypatch)
    assert run(capsys, *words) == first
    assert list(map(len, read)) == [2] and len(first[0]["clips"]) == 2


def encodings(monkeypatch):
    """Notes the positions of each batch of clips that is read."""
    read, read_at = [], ClipReader.read_at
    monkeypatch.setattr(
        ClipReader, "read_at", lambda self, at: read.append(list(at)) or read_at(self, at)
    )
    return read


def test_only_new_clips_of_a_store_are_encoded(trained, tmp_path, capsys, monkeypatch):
    """Three more and one less than in the first search, in another store."""
    pack(PackOptions([trained / "test.lmdb"], tmp_path / "all.store", dtype="float32"))
    plain, index = FeatureStore(tmp_path / "all.store"), str(tmp_path / "index")
    for name, numbers in (("old", (0, 3, 4, 1)), ("new", (5, 0, 2, 3, 1, 6))):
        with StoreWriter(tmp_path / name, plain.manifest.sizes, "float32") as writer:
            for number in numbers:
                writer.add(plain[number])
            writer.finish()
    more = ["--json", "a dog", "--features"]
    run(capsys, *arguments(trained, "--index", index, *more, str(tmp_path / "old")))
    read = encodings(monkeypatch)
    [found] = run(capsys, *arguments(trained, "--index", index, *more, str(tmp_path / "new")))
    assert read[0] == [0, 2, 5], "their positions in the new store"
    fresh = ["--index", str(tmp_path / "fresh"), *more, str(tmp_path / "new")]
    [wanted] = run(capsys, *arguments(trained, *fresh))
    assert [clip["clip"] for clip in found["clips"]] == [clip["clip"] for clip in wanted["clips"]]
    for one, other in zip(found["clips"], wanted["clips"], strict=True):
        # The encoder's last bits depend on which clips are in a batch.
        assert one["similarity"] == pytest.approx(other["similarity"], abs=1e-5)


def test_an_approximate_first_stage_is_chosen_by_an_option(trained, tmp_path, capsys, monkeypatch):
    chosen = []
    rows = search_module.ApproximateRows
    monkeypatch.setattr(
        search_module, "ApproximateRows", lambda *words: chosen.append(1) or rows(*words)
    )
    words = ["--json", "--index", str(tmp_path), "a dog"]
    wanted = run(capsys, *arguments(trained, *words))
    assert run(capsys, *arguments(trained, *words, "--first_stage", "approximate")) == wanted
    changes = ["-o", "MODEL.retrieval_head.first_stage=approximate"]
    assert run(capsys, *arguments(trained, *words, *changes)) == wanted
    assert len(chosen) == 2
    assert run(capsys, *arguments(trained, *words, *changes, "--first_stage", "exact")) == wanted
    assert len(chosen) == 2, "the option goes first"


@pytest.mark.parametrize("what", ["features", "weights", "a damaged index"])
def test_an_index_of_something_else_is_not_used(trained, tmp_path, capsys, monkeypatch, what):
    index = tmp_path / "index"
    words = ["--json", "--index", str(index), "--best", "2", "a dog"]
    first = run(capsys, *arguments(trained, *words))
    if what == "features":
        file = trained / "test.lmdb" / "data.mdb"
        content, dates = file.read_bytes(), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
        file.write_bytes(content + bytes(1 << 12))
        os.utime(file, ns=dates)
    elif what == "weights":
        words += ["-w", str(trained / "output" / "Tiny_best.pdparams")]
        state = paddle.load(str(trained / "output" / "Tiny_epoch_00001.pdparams"))
        changed = {name: x * 1.5 for name, x in state.items()}
        paddle.save(changed, str(trained / "output" / "Tiny_best.pdparams"))
    else:
        for file in [*index.glob("*.npz"), *index.rglob("*.npy")]:
            file.write_bytes(file.read_bytes()[:100])
    read = encodings(monkeypatch)
    assert (run(capsys, *arguments(trained, *words)) == first) == (what != "weights")
    assert read[0] == list(range(VIDEOS)), "all clips are encoded"
    assert len(list(index.glob("*/index.json"))) == (2 if what == "weights" else 1)
    assert len(list(index.glob("*/segment-*"))) == (2 if what == "weights" else 1)
    if what == "features":
        file.write_bytes(content)


def test_dates_do_not_make_another_index_and_old_ones_are_removed(
    trained, tmp_path, capsys, monkeypatch
):
    index, weights = tmp_path / "index", tmp_path / "w.pdparams"
    weights.write_bytes((trained / "output" / "Tiny_epoch_00001.pdparams").read_bytes())
    config = ["-c", str(trained / "tiny.yaml"), "--index", str(index), "--json", "a dog"]
    run(capsys, *arguments(trained, *config, "-w", str(weights)))
    files = set(index.iterdir())
    [first] = [path for path in files if path.is_dir()]
    foreign = index / "notes.npz"
    np.savez(foreign, key=np.asarray("mine"))
    old = index / f"{0:016x}.npz"  # of an earlier version
    np.savez(old, key=np.asarray(json.dumps({"weights": "ab", "features": ["x", 1, 2]})))
    read = encodings(monkeypatch)
    os.utime(weights, (1, 1))
    os.utime(trained / "test.lmdb" / "data.mdb", (1, 1))
    run(capsys, *arguments(trained, *config, "-w", str(weights)))
    assert list(map(len, read)) == [VIDEOS], "the candidates alone"
    assert set(index.iterdir()) == {*files, foreign, old}
    weights.unlink()
    changed = paddle.load(str(trained / "output" / "Tiny_epoch_00001.pdparams"))
    paddle.save({name: x * 1.5 for name, x in changed.items()}, str(tmp_path / "v.pdparams"))
    run(capsys, *arguments(trained, *config, "-w", str(tmp_path / "v.pdparams")))
    [kept] = [path for path in index.iterdir() if path.is_dir()]
    assert kept != first and foreign.exists() and not old.exists()


def test_an_index_that_cannot_be_kept_is_done_without(trained, tmp_path, capsys, caplog):
    (tmp_path / "file").write_text("")
    wanted = run(capsys, *arguments(trained, "--json", "--index", str(tmp_path / "i"), "a dog"))
    words = ["--json", "--index", str(tmp_path / "file" / "index"), "a dog"]
    assert run(capsys, *arguments(trained, *words)) == wanted
    assert "the index cannot be written" in caplog.text and "--index" in caplog.text
    indexed = [line for line in caplog.messages if line.startswith("indexed ")]
    assert indexed[-1].endswith("in memory only"), "no place is named where nothing was written"


@pytest.mark.parametrize("place", ["README.md", "localhost:19530", "http://x:port"])
def test_a_place_that_cannot_hold_an_index_is_a_wrong_option(trained, capsys, place):
    with pytest.raises(SystemExit) as ended:
        search.main(arguments(trained, "--index", place, "a dog"))
    error = capsys.readouterr().err
    assert ended.value.code == 2 and f"error: --index: {place}" in error


def test_clips_of_a_store_are_found_too(trained, tmp_path, capsys):
    pack(PackOptions([trained / "test.lmdb"], tmp_path / "clips.store", dtype="float32"))
    words = ["--json", "--index", str(tmp_path / "index"), "a dog"]
    wanted = run(capsys, *arguments(trained, *words))
    store = ["--features", str(tmp_path / "clips.store")]
    for _ in range(2):
        assert run(capsys, *arguments(trained, *words, *store)) == wanted
    assert len(list((tmp_path / "index").glob("clips-*.npz"))) == 2


def test_without_a_head_every_clip_is_matched(trained, tmp_path, capsys):
    changes = ["-o", "MODEL.retrieval_head=null"]
    [found] = run(capsys, *arguments(trained, "--json", "a dog", *changes))
    assert len(found["clips"]) == VIDEOS
    assert all(clip["similarity"] == 0 for clip in found["clips"])
    assert not (trained / "output" / "search_index").exists()


def test_sentences_come_from_a_pipe_and_lines_go_to_one(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("a dog\n\n  red soup \n"))
    assert search.main(arguments(trained, "--index", str(tmp_path), "--best", "2")) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [(line[0], line[3]) for line in lines] == [
        *(("1", "a dog"), ("2", "a dog"), ("1", "red soup"), ("2", "red soup"))
    ]
    assert all(np.isfinite(float(line[1])) for line in lines)


def test_a_page_shows_what_was_found(trained, tmp_path, capsys):
    page = tmp_path / "page.html"
    words = ["--index", str(tmp_path), "--report", str(page), "a <dog>", "--best", "3"]
    assert search.main(arguments(trained, *words)) == 0
    text = page.read_text()
    assert "a &lt;dog&gt;" in text and "video" in text and "<dog>" not in text


def test_a_page_shows_all_that_was_printed_with_captions_and_players(trained, tmp_path, capsys):
    source = tmp_path / "vids" / "a film, 50 % & more#1.mp4"
    source.parent.mkdir()
    source.write_bytes(b"not a video")
    pack(PackOptions([trained / "test.lmdb"], tmp_path / "plain", [trained / "test.csv"]))
    plain = FeatureStore(tmp_path / "plain")
    with StoreWriter(tmp_path / "clips.store", plain.manifest.sizes, "float32") as writer:
        for number, clip in enumerate(plain[n] for n in range(VIDEOS)):
            writer.add(replace(clip, source=str(source), span=(number + 0.5, number + 2.0)))
        writer.finish()
    page = tmp_path / "new" / "page.html"
    words = ["--features", str(tmp_path / "clips.store"), "--index", str(tmp_path / "index")]
    assert search.main(arguments(trained, *words, "--report", str(page), "a dog")) == 0
    out, err = capsys.readouterr()
    names = [line.split("\t")[2] for line in out.splitlines()]
    assert len(names) == VIDEOS > 5 and f"{VIDEOS} of {VIDEOS} clips have no picture: " in err
    text = page.read_text("utf-8")
    address = "../vids/a%20film%2C%2050%20%25%20%26%20more%231.mp4#t="
    assert text.count(f'<video class="picture" src="{address}') == VIDEOS
    assert [name for name in re.findall(r'class="name">(video\d)', text)] == names
    for number in range(VIDEOS):
        assert f'src="{address}{number + 0.5:g},{number + 2}"' in text
        assert plain[number].captions[0] in text
    assert "do not play" not in text
    assert "media-src 'self' file:" in html.unescape(text) and "<script" not in text
    assert ("considers a mismatch more likely" in err) == (
        "\t-" in out
    ) and "considers a mismatch more likely" in text


def test_captions_of_an_lmdb_come_from_the_table_beside_it(trained, tmp_path):
    page = tmp_path / "page.html"
    words = ["--index", str(tmp_path), "--report", str(page), "a dog", "--best", "3"]
    assert search.main(arguments(trained, *words)) == 0
    assert page.read_text("utf-8").count(", number ") == 3


@pytest.mark.parametrize(
    "sentence", ["", " \t ", "\u200b", "\U0001f600\U0001f600", "\u6d0b \U0001f600"]
)
def test_a_sentence_that_says_nothing_is_refused(trained, tmp_path, capsys, monkeypatch, sentence):
    monkeypatch.setattr(model_module, "build_model", lambda *_, **__: pytest.fail("loaded first"))
    words = arguments(trained, "--index", str(tmp_path), "a dog", sentence)
    assert search.main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and ("is empty" in err or "[UNK]" in err and "bert_model" in err)


def test_a_sentence_of_a_pipe_is_refused_alone(trained, tmp_path, capsys, caplog, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("a dog\n\U0001f600\nred \u6d0b soup\n"))
    assert search.main(arguments(trained, "--index", str(tmp_path), "--best", "1")) == 2
    out, err = capsys.readouterr()
    assert [line.split("\t")[3] for line in out.splitlines()] == ["a dog", "red \u6d0b soup"]
    assert "1 of 3 sentences were rejected" in err
    assert "1 of its 3 pieces are unknown words" in caplog.text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--report", "{folder}/file/x.html"], "--report"),
        (["--report", "{folder}"], "is a folder"),
        (["--report", "x.html", "--videos", "{folder}/absent"], "no such folder of videos"),
    ],
)
def test_a_page_that_cannot_be_is_told_first(trained, tmp_path, capsys, monkeypatch, more, message):
    (tmp_path / "file").touch()
    monkeypatch.setattr(search, "configure", lambda *_: pytest.fail("loaded first"))
    words = [word.replace("{folder}", str(tmp_path)) for word in more]
    assert search.main(arguments(trained, "a dog", *words)) in {1, 2}
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, message",
    [
        (["-w", "nowhere.pdparams"], "nowhere.pdparams: no such weight file"),
        (["--features", "nowhere.lmdb"], "nowhere.lmdb: No such file or directory"),
        (["-o", "MODEL.backbone.hiden_size=3"], 'Did you mean "hidden_size"'),
        (["-o", "MODEL.retrieval_head.similarity_weight=auto"], "similarity_weight=1"),
        (["-o", "DATASET.test.vision_feature_dim=9"], "vision_feature_dim is 9. Set it"),
    ],
)
def test_a_mistake_is_one_clear_line(trained, tmp_path, capsys, change, message):
    words = arguments(trained, "a dog", "--index", str(tmp_path), *change)
    assert search.main(words) in {1, 2}
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_the_clips_are_those_of_the_recipe_unless_others_are_named(trained, tmp_path, capsys):
    words = ["-w", arguments(trained)[1], "--index", str(tmp_path), "a dog"]
    assert search.main(words) == 2
    assert "error: --features STORE: name the clips to search" in capsys.readouterr().err
    assert search.main([*words, "-o", f"data={trained / 'test.lmdb'}"]) == 2
    assert "data: nothing reads it" in capsys.readouterr().err
    free = ["DATASET.test.features_path=null"]
    assert search.main([*words, "-o", f"data={trained / 'test.lmdb'}", *free]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 7


def test_sizes_come_from_a_retrieval_set():
    assert model_module.dataset_options({})["max_region_num"] == 36
    with pytest.raises(ConfigError, match="needs the sizes of an MSRVTTDataset"):
        model_module.dataset_options({"DATASET": {"test": {"format": "ActBertDataset"}}})


@pytest.mark.parametrize("how", ["exact", "approximate"])
def test_an_index_in_milvus_gives_the_same(trained, tmp_path, capsys, monkeypatch, how):
    reason = "pymilvus and milvus-lite are not installed: the extra scale has them"
    for name in ("pymilvus", "milvus_lite"):
        pytest.importorskip(name, reason=reason)
    words = ["--json", "a dog", "red soup", "--candidates", "3", "--first_stage", how]
    wanted = run(capsys, *arguments(trained, *words, "--index", str(tmp_path / "folder")))
    place = ["--index", str(tmp_path / "clips.db")]
    found = run(capsys, *arguments(trained, *words, *place))
    for one, other in zip(found, wanted, strict=True):
        assert [clip["clip"] for clip in one["clips"]] == [clip["clip"] for clip in other["clips"]]
        scores = [[clip["score"] for clip in each["clips"]] for each in (one, other)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-4)
    read = encodings(monkeypatch)
    assert run(capsys, *arguments(trained, *words, *place)) == found
    assert max(map(len, read)) <= 3, "the candidates alone"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("ftp://host:1", "expected a folder, http://HOST:PORT"),
        ("http://root:secret@host:19530", "leave user and password out of the address"),
    ],
)
def test_an_address_that_is_wrong_is_refused_at_once(trained, capsys, place, message):
    with pytest.raises(SystemExit):
        search.parse_arguments(arguments(trained, "a dog", "--index", place))
    error = capsys.readouterr().err
    assert message in error and "secret" not in error


def test_counts_must_be_positive(capsys):
    with pytest.raises(SystemExit):
        search.parse_arguments(["-w", "w", "--features", "f", "--best", "0"])
    assert '--best: expected 1 or more, got "0"' in capsys.readouterr().err


def test_answers_in_a_pipe_are_one_write(monkeypatch):
    """``| head -1`` ends between two writes, and the search with it, where output is unbuffered."""
    writes = []

    class Pipe(io.StringIO):
        def write(self, text):
            writes.append(text)
            return len(text)

    monkeypatch.setattr("sys.stdout", Pipe())
    answers = [search_module.Answer(f"clip{n}", 1.0, 1.0, 0.0) for n in range(3)]
    search.show("a dog", answers, as_json=False)
    assert [text.count("\n") for text in writes] == [3]
