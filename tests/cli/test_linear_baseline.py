"""tools/linear_baseline.py: both ways to a map, and the recorded number on real clips."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import paddle
import pytest

from paddlevideo.cli import find_bert, linear_baseline
from paddlevideo.cli.linear_baseline import Pairs, Settings, fit_map, train_map
from paddlevideo.cli.report import compare
from paddlevideo.config import load_config
from paddlevideo.modeling import build_model
from paddlevideo.retrieval import retrieval_metrics
from tests.tiny_data import make_project


def pairs(count, seed, noise=0.3):
    """Captions that are a linear function of clips; the same function for every ``seed``."""
    rng, weights = np.random.default_rng(seed), np.random.default_rng(0).normal(size=(20, 8))
    clips = rng.normal(3.0, 2.0, (count, 20)).astype(np.float32)
    texts = (clips - 3.0) @ weights + noise * rng.normal(size=(count, 8))
    return Pairs(clips, texts.astype(np.float32), np.arange(count))


@pytest.mark.parametrize("find", ["fit", "train"])
def test_a_linear_relation_is_found(find):
    train, test = pairs(400, 1), pairs(100, 2)
    if find == "fit":
        scores = fit_map(train, test, 0.1)
    else:
        scores = train_map(train, test, 0, Settings(epochs=40, rate=1e-2, dropout=0.0))
    right = retrieval_metrics(scores, test.truth)["text_to_video"]
    assert right["R@1"] > 70
    shuffled = Pairs(train.clips, train.captions[::-1].copy(), train.truth)
    wrong = retrieval_metrics(fit_map(shuffled, test, 0.1), test.truth)["text_to_video"]
    assert wrong["R@10"] < 40


def test_several_captions_of_a_clip_count_one_by_one():
    train, test = pairs(300, 1), pairs(50, 2)
    twice = Pairs(train.clips, np.tile(train.captions, (2, 1)), np.tile(train.truth, 2))
    once, doubled = fit_map(train, test, 1.0), fit_map(twice, test, 2.0)
    np.testing.assert_allclose(once, doubled, atol=1e-4)


def test_it_reads_what_a_configuration_names(tmp_path, capsys):
    config, report = make_project(tmp_path, clips=16), tmp_path / "numbers.json"
    # Weights of no BERT at all are a fault; the text stream of the recipe decides the sizes.
    arguments = ["-c", str(config), "--features", "actions", "regions", "--json", str(report)]
    (tmp_path / "no.pdparams").write_bytes(b"")
    assert linear_baseline.main([*arguments, "--bert", str(tmp_path / "no.pdparams")]) != 0
    assert "no.pdparams" in capsys.readouterr().err


def test_weights_and_vocabulary_are_checked(tmp_path, capsys):
    config = load_config(str(make_project(tmp_path, clips=16)), ["MODEL.backbone.vocab_size=100"])
    model, weights = build_model(config.MODEL), tmp_path / "w.pdparams"
    paddle.save(model.state_dict(), str(weights))
    arguments = ["-c", str(tmp_path / "tiny.yaml"), "--bert", str(weights)]
    arguments += ["-o", "MODEL.backbone.vocab_size=100"]
    assert linear_baseline.main(arguments) == 2
    assert "MODEL.backbone.vocab_size is 100, but DATASET.test" in capsys.readouterr().err
    word = model.backbone.text_embeddings.word.weight
    word.set_value(paddle.full_like(word, float("nan")))
    paddle.save(model.state_dict(), str(weights))
    assert linear_baseline.main(arguments) == 1
    assert "text_embeddings.word.weight holds NaN" in capsys.readouterr().err


@pytest.mark.slow
def test_the_recorded_number_of_real_clips(shared, tmp_path, monkeypatch, capsys):
    """R@10 20.8 +- 1.2 is recorded for the trained map."""
    if not (shared / "data" / "youcook2_mini").is_dir():
        pytest.skip("needs the clips in ../shared/data/youcook2_mini")
    bert = find_bert.find_bert(find_bert.PACKAGE)
    if bert is None:
        pytest.skip(f"needs the weights of {find_bert.PACKAGE}: {find_bert.INSTALL}")
    monkeypatch.chdir(Path(__file__).parents[2])  # where the recipe's paths begin
    report = tmp_path / "numbers.json"
    arguments = ["-c", "actbert_youcook2_mini.yaml", "--bert", str(bert), "--json", str(report)]
    arguments += ["--seeds", "3", "--queries", str(tmp_path)]
    assert linear_baseline.main(arguments) == 0
    assert "1050 captions to learn from, 300 to test" in capsys.readouterr().out
    numbers = json.loads(report.read_text())
    found = [run["text_to_video"]["R@10"] for run in numbers]
    assert 18.5 < np.mean(found) < 23.5
    # The files of its seeds are compared as tests are.
    files = [str(tmp_path / f"seed{seed}.jsonl") for seed in range(3)]
    assert compare([*files[:2], "--with", files[2]]) == 0
    first, second = np.mean(found[:2]), found[2]
    assert f"R@10  {first:6.1f} {second:7.1f}" in capsys.readouterr().out
