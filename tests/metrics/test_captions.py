"""Scores of captions: against COCO's evaluation, and against cases computed by hand."""

import json
import math
import sys
from pathlib import Path
from threading import Lock
from types import ModuleType

import numpy as np
import pytest

from paddlevideo.metrics.captions import References, longest_common, words_of
from paddlevideo.metrics.meteor import (
    NOT_MEASURED,
    measured_meteor,
    meteor,
    missing_for_meteor,
)
from paddlevideo.utils.errors import DataError

RECORDED = Path(__file__).parents[2] / "../shared/data/caption_reference.json"
COCO = {"ROUGE-L": "ROUGE_L", "CIDEr": "CIDEr", **{f"BLEU-{n}": f"Bleu_{n}" for n in range(1, 5)}}


@pytest.mark.skipif(not RECORDED.is_file(), reason="needs ../shared/data/caption_reference.json")
@pytest.mark.parametrize("name", ["nearest_clip", "consensus_20", "gru_seed1_epoch30"])
def test_scores_equal_those_of_coco(name):
    recorded = json.loads(RECORDED.read_text("utf-8"))
    references = References([[caption] for caption in recorded["references"]])
    scores = references.scores(recorded["hypotheses"][name])
    expected = recorded["pycocoevalcap_1.2"][name]
    assert scores == pytest.approx({ours: expected[name] for ours, name in COCO.items()}, abs=1e-6)


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("Add the Onions, and mix!", "add the onions and mix"),
        ("it's hot; don't touch", "it 's hot do n't touch"),
        ("you can\u2019t \u201cfry\u201d it", "you ca n't fry it"),
        ("medium-high - 1/2 cup... at 1.5 bar", "medium-high 1/2 cup at 1.5 bar"),
        ("salt (a pinch)", "salt -lrb- a pinch -rrb-"),
        ("we cannot wait", "we can not wait"),
        ("'tis the chef's l'orange", "tis the chef 's l'orange"),
        (" . ", ""),
    ],
)  # fmt: skip
def test_words(caption, words):
    assert words_of(caption) == words.split()


def test_longest_common_subsequence():
    assert longest_common(list("abcbdab"), list("bdcaba")) == 4
    assert longest_common([], ["a"]) == 0


def test_bleu_by_hand():
    references = References([["a b c d e"], ["x y"]])
    scores = references.bleu(["a b c e", "y x"])
    # words 4 + 2 of 6, pairs 2 + 0 of 4, triples 1 of 2, fours 0 of 1; lengths 6 and 7
    penalty = math.exp(1 - 7 / 6)
    assert scores[0] == pytest.approx(penalty)
    assert scores[1] == pytest.approx(penalty * math.sqrt(1 * 0.5))
    assert scores[2] == pytest.approx(penalty * (1 * 0.5 * 0.5) ** (1 / 3))
    assert scores[3] == pytest.approx(0, abs=1e-3)


def test_bleu_takes_the_closest_reference_and_clips_counts():
    references = References([["the cat", "the the cat sits on a mat"]])
    assert references.bleu(["the the the"])[0] == pytest.approx(2 / 3)  # no penalty: 2 is closest


def test_rouge_by_hand():
    references = References([["a b c d", "a x"]])
    # precision 2/2 and recall 2/4 by the first; recall 1/2 by the second
    assert references.rouge(["a d"]) == pytest.approx(2.44 * 0.5 / (0.5 + 1.44))
    assert references.rouge(["z"]) == 0


def test_cider_by_hand():
    references = References([["a b"], ["c d"], ["c d"]])
    rare, common = math.log(3), math.log(3 / 2)
    # "a c": words a and c weigh rare and common; no common pair; equal lengths
    cosine = rare * rare / (math.hypot(rare, common) * math.hypot(rare, rare))
    assert references.cider(["a c", "c d", "c d e f"]) == pytest.approx(
        [
            10 / 4 * cosine,
            10 / 4 * 2,
            10 / 4 * math.exp(-(2**2) / 72)
            * (2 * common**2 / (math.hypot(common, common, rare, rare) * math.sqrt(2) * common)
               + common**2 / (math.hypot(common, rare, rare) * common)),
        ]
    )  # fmt: skip


def test_a_perfect_caption_of_four_words_has_the_highest_cider():
    references = References([["a b c d"], ["e f g h"]])
    assert references.cider(["a b c d", "e f g h"]) == pytest.approx([10, 10])


def test_mean_over_references_in_cider():
    one = References([["a b"], ["c d"]]).cider(["a b", "c d"])
    two = References([["a b", "e f"], ["c d"]]).cider(["a b", "c d"])
    assert two[0] == pytest.approx(one[0] / 2)


def test_the_best_constant_is_the_most_common_content():
    references = References([["stir the soup"], ["stir the rice"], ["cut a carrot"], ["peel it"]])
    best = references.best_constant()
    others = [captions[0] for captions in (("stir the soup",), ("cut a carrot",), ("peel it",))]
    mean = references.cider([best] * 4).mean()
    assert all(mean >= references.cider([other] * 4).mean() for other in others)


def test_an_empty_caption_scores_zero():
    scores = References([["a b"], ["c d"]]).scores(["", ""])
    assert all(value == pytest.approx(0, abs=1e-3) for value in scores.values())
    assert np.isfinite(list(scores.values())).all()


def test_mistakes():
    with pytest.raises(DataError, match="clip 1 has no caption"):
        References([["a"], []])
    with pytest.raises(DataError, match="there are no captions"):
        References([])
    with pytest.raises(DataError, match="1 captions for 2 clips"):
        References([["a"], ["b"]]).scores(["a"])


def test_meteor_is_that_of_the_package(monkeypatch):
    class Meteor:
        lock = Lock()

        def compute_score(self, truth, answers):
            assert truth == {0: ["a b", "c"], 1: ["d"]} and answers == {0: ["a"], 1: ["e"]}
            return 0.25, [0.5, 0.0]

    for name in ("pycocoevalcap", "pycocoevalcap.meteor", "pycocoevalcap.meteor.meteor"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["pycocoevalcap.meteor.meteor"].Meteor = Meteor
    monkeypatch.setattr("shutil.which", lambda name: "/bin/java")
    assert missing_for_meteor() == ""
    assert meteor(["A.", "e"], [["a b", "c"], ["d!"]]) == 0.25
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "install a Java runtime" in missing_for_meteor()


def needs_meteor():
    if missing := missing_for_meteor():
        pytest.skip(missing)


@pytest.mark.slow
def test_meteor_is_that_of_the_installed_package():
    needs_meteor()
    from pycocoevalcap.meteor.meteor import Meteor

    captions = ["a man cuts an onion", "stir the soups", ""]
    known = [["the man cut an onion", "he is cooking"], ["stir the soup"], ["peel it"]]
    truth, answers = dict(enumerate(known)), {i: [each] for i, each in enumerate(captions)}
    expected, _ = Meteor().compute_score(truth, answers)
    assert meteor(captions, known) == pytest.approx(expected, abs=1e-9)
    assert 0.2 < expected < 0.8


@pytest.mark.slow
@pytest.mark.skipif(not RECORDED.is_file(), reason="needs ../shared/data/caption_reference.json")
def test_meteor_equals_the_recorded_one():
    needs_meteor()
    recorded = json.loads(RECORDED.read_text("utf-8"))
    score = meteor(recorded["hypotheses"]["nearest_clip"], [[x] for x in recorded["references"]])
    expected = recorded["pycocoevalcap_1.2"]["nearest_clip"]["METEOR"]
    assert score == pytest.approx(expected, abs=1e-6)


def test_a_java_that_fails_costs_only_meteor(tmp_path, monkeypatch, caplog):
    """As one does that cannot reserve its memory, at the end of a long test."""
    needs_meteor()
    (tmp_path / "java").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "java").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert measured_meteor(["a"], [["a"]]) == NOT_MEASURED
    assert "METEOR" in caplog.text


def test_meteor_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocoevalcap", None)
    assert 'pip install -e ".[captions]"' in missing_for_meteor()
