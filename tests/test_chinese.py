"""Captions in Chinese, with a vocabulary of single characters as that of bert-base-chinese."""

from __future__ import annotations

import json
import logging
import sys
from itertools import product

import numpy as np
import pytest
import yaml
from rich.cells import cell_len

from paddlevideo.cli import prepare_data, search, split
from paddlevideo.cli import run as main
from paddlevideo.loader.captions.clip_csv import read_captions
from paddlevideo.loader.pipelines import WordDropout
from paddlevideo.loader.store import ClassTargets, Clip, Sizes, StoreWriter
from paddlevideo.loader.tokenizer import check_query, load_tokenizer
from paddlevideo.metrics.captions import References, words_of
from paddlevideo.report import read_queries
from paddlevideo.retrieval.answers import print_clips
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.words import split_words

WHO, DOES = ["男人", "女人", "小狗", "厨师"], ["切洋葱", "炒鸡蛋", "洗盘子", "看电视"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = [*SPECIAL, "，", "。", "run", "##s", *dict.fromkeys("".join(["一个在的", *WHO, *DOES]))]
SIZES = Sizes(region=134, action=233, region_classes=37, action_classes=15)  # actbert_videos.yaml


def caption_of(who: str, does: str) -> str:
    return f"一个{who}在{does}。"


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    """A folder as that of a published model."""
    folder = tmp_path_factory.mktemp("bert-small-chinese")
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return folder


def write_clips(path, number: int, rng: np.random.Generator) -> None:
    """Clips whose regions show who it is, and whose actions what they do, with noise."""
    codes = np.random.default_rng(0)
    looks = {who: codes.normal(size=SIZES.region) for who in WHO}
    moves = {does: codes.normal(size=SIZES.action) for does in DOES}
    with StoreWriter(path, SIZES) as writer:
        for index, (who, does) in product(range(number), product(WHO, DOES)):
            writer.add(
                Clip(
                    id=f"视频{index:02d}_{who}_{does}",
                    regions=looks[who] + rng.normal(0, 0.3, (2, SIZES.region)),
                    boxes=np.array([[0, 0, 40, 30], [10, 10, 90, 80]]),
                    image_h=100,
                    image_w=120,
                    actions=moves[does] + rng.normal(0, 0.3, (1, SIZES.action)),
                    action_classes=np.array([DOES.index(does)]),
                    region_classes=ClassTargets.of(np.eye(37)[[WHO.index(who)] * 2]),
                    captions=[caption_of(who, does)],
                )
            )
        writer.finish()


@pytest.fixture(scope="module")
def trained(tmp_path_factory, vocabulary):
    """A folder with ``chinese.yaml`` and what it has trained."""
    folder = tmp_path_factory.mktemp("chinese")
    rng = np.random.default_rng(1)
    store = folder / "videos.store"
    write_clips(store, 10, rng)
    for number, purpose in enumerate(("test", "valid")):
        clips = [f"视频{number:02d}_{who}_{does}\n" for who, does in product(WHO, DOES)]
        (folder / f"{purpose}.txt").write_text("".join(clips), encoding="utf-8-sig")
    lists = [f"--{purpose}_list={folder / purpose}.txt" for purpose in ("valid", "test")]
    assert split.main([str(store), *lists]) == 0
    words = {"bert_model": str(vocabulary)}
    recipe = {
        "_base_": "actbert_videos.yaml",
        "data": str(store),
        "model_name": "Chinese",
        "output_dir": str(folder / "output"),
        "epochs": 8,
        "val_interval": 8,
        "num_threads": 1,
        "MODEL": {
            "backbone": {"vocab_size": len(PIECES)},
            "match_negatives": 0,
            "hard_negatives": 0,
            "retrieval_head": {"similarity_weight": 20.0},
        },
        "OPTIMIZER": {"learning_rate": {"base_lr": 0.003}},
        "DATASET": {
            "batch_size": 16,
            "train": words,
            "valid": words,
            "test": words,
        },
    }
    (folder / "chinese.yaml").write_text(yaml.safe_dump(recipe, allow_unicode=True))
    assert main.main(["-c", str(folder / "chinese.yaml"), "--validate"]) == 0
    return folder


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("paddlevideo").handlers.clear()


def recipe_and_weights(folder):
    weights = folder / "output" / "Chinese_best.pdparams"
    return ["-c", str(folder / "chinese.yaml"), "-w", str(weights)]


@pytest.mark.slow
def test_training_and_a_test_with_a_page(trained):
    page = trained / "report.html"
    assert main.main(["--test", *recipe_and_weights(trained), "--report", str(page)]) == 0
    results = json.loads((trained / "output" / "results.json").read_text())
    assert results["text_to_video"]["R@1"] > 80  # chance is 6
    assert "一个厨师在炒鸡蛋。" in page.read_text("utf-8")
    queries = read_queries(trained / "output" / "queries.jsonl")
    assert {query.query for query in queries} >= {caption_of(*pair) for pair in product(WHO, DOES)}


@pytest.mark.slow
def test_a_search(trained, capsys):
    words = [*recipe_and_weights(trained), "--best", "3"]
    page = trained / "search.html"
    capsys.readouterr()
    assert search.main([*words, "--report", str(page), "小狗在看电视", "厨师炒鸡蛋"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    first = [row[2].partition("_")[2] for row in rows if row[0] == "1"]
    assert first == ["小狗_看电视", "厨师_炒鸡蛋"]
    assert "小狗在看电视" in page.read_text("utf-8")
    assert search.main([*words, "马拉松"]) == 2
    message = capsys.readouterr().err
    assert "all 3 pieces are unknown words" in message and "vocab.txt" in message


@pytest.mark.slow
def test_another_vocabulary_than_that_of_the_weights_is_refused(trained, capsys):
    wrong = [f"DATASET.{part}.bert_model=bert-base-uncased" for part in ("train", "valid", "test")]
    arguments = ["--test", *recipe_and_weights(trained), "-o", *wrong, "output_dir=elsewhere"]
    assert main.main(arguments) == 2
    output = "".join(capsys.readouterr())
    assert "MODEL.backbone.vocab_size" in output and "30522" in output


def test_each_character_is_a_word_piece(vocabulary):
    tokenizer = load_tokenizer(str(vocabulary))
    ids = tokenizer.encode("一个女人在切洋葱，RUNS。", 36)
    pieces = ["[CLS]", *"一个女人在切洋葱，", "run", "##s", "。", "[SEP]"]
    assert ids == [PIECES.index(piece) for piece in pieces]
    assert tokenizer.decode(ids) == "一个女人在切洋葱，runs。"
    assert tokenizer.encode("小 狗", 36) == tokenizer.encode("小狗", 36)
    assert tokenizer.count("龙舟") == (2, 2)


def test_a_query_says_how_much_of_it_is_unknown(vocabulary):
    own = load_tokenizer(str(vocabulary))
    assert check_query(own, "小狗在看电视", 36) == ""
    assert "truncated to 3 pieces" in check_query(own, "小狗在看电视", 5)
    assert "2 of its 4 pieces are unknown" in check_query(own, "小狗赛跑", 36)
    english = load_tokenizer("bert-base-uncased")
    with pytest.raises(ConfigError, match="all 3 pieces are unknown.*bert-base-chinese"):
        check_query(english, "切洋葱", 36)


def test_words_are_counted_and_dropped_by_character():
    assert split_words("一个man在切 洋葱") == ["一", "个", "man", "在", "切", "洋", "葱"]
    kept = WordDropout(0.5)({"caption": "切" * 1000}, np.random.default_rng(0))["caption"].split()
    assert 400 < len(kept) < 600


def test_scores_of_captions_compare_characters():
    assert words_of("一个男人，在切洋葱。") == list("一个男人在切洋葱")
    references = References([["一个男人在切洋葱"], ["一个女人在洗盘子"]])
    near = references.scores(["一个男人在切土豆", "一个女人在洗盘子"])
    assert 0.5 < near["BLEU-4"] < 1 and 0.5 < near["ROUGE-L"] < 1


def test_tables_of_captions_in_encodings_of_windows(tmp_path):
    path = tmp_path / "captions.csv"
    text = "clip1,一个男人，在切洋葱\nclip2,小狗在看电视\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_text(text, encoding=encoding)
        pairs = [("clip1", "一个男人，在切洋葱"), ("clip2", "小狗在看电视")]
        assert read_captions(str(path)) == pairs
    path.write_text(text, encoding="gbk")
    with pytest.raises(DataError, match=r"line 1: cannot be read as UTF-8 .* iconv -f GB18030"):
        read_captions(str(path))
    path.write_text("clip1，一个男人在切洋葱\n", encoding="utf-8")
    with pytest.raises(DataError, match='line 1: .* "," instead of the full-width "，"'):
        read_captions(str(path))


def test_a_table_on_a_terminal_is_straight(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "dumb")
    print_clips("小狗在看电视", ["视频01_小狗", "clip_2"], {"score": [2.5, -1.0]}, digits=2)
    lines = [line for line in capsys.readouterr().out.splitlines() if line[:1] in "┃│┏└┡"]
    assert len(lines) == 6 and len({cell_len(line) for line in lines}) == 1


def test_a_store_is_checked_with_the_vocabulary_that_is_named(tmp_path, vocabulary, capsys):
    store = tmp_path / "clips.store"
    write_clips(store, 1, np.random.default_rng(0))
    assert prepare_data.main(["validate", str(store), "--bert_model", str(vocabulary)]) == 0
    assert "Choose a vocabulary" not in capsys.readouterr().out
    prepare_data.main(["validate", str(store)])
    output = capsys.readouterr().out
    assert "vocabulary bert-base-uncased" in output and "Choose a vocabulary" in output
