"""What the stages of the demo's test confuse."""

import numpy as np
import pytest

from paddlevideo.demo import grammar
from paddlevideo.demo.confusions import confusions, differences, print_confusions, triples_of


def test_the_things_of_every_caption_are_found_again():
    scenes = grammar.sample_scenes({"train": 300, "valid": 10, "test": 10}, seed=3)["train"]
    rng = np.random.default_rng(0)
    for scene in scenes:
        for omit in (0.0, 1.0):
            triples = triples_of(grammar.caption(scene, rng, omit))
            assert triples == [thing.triple for thing in scene.things]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ("a tiny crimson disc rises on a grid", {"order"}),
        ("a blue disc rises", {"colour"}),
        ("a red plus sign spins", {"shape", "action"}),
        ("a red disc rises while a blue star blinks", {"number"}),
    ],
)
def test_captions_differ_in_what_their_words_mean(other, expected):
    assert differences("a red circle climbs", other) == expected


def test_who_does_what_is_the_order():
    first = "a red disc rises and a blue star blinks"
    assert differences(first, "a blue disc rises and a red star blinks") == {"order"}
    assert differences(first, "a red disc rises and a blue star fades") == {"action"}


def test_a_tie_is_a_confusion():
    captions = ["a red disc rises", "a blue disc rises", "a blue star blinks"]
    scores = np.array([[2.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    result = confusions(scores, captions, np.arange(3))
    third = pytest.approx(100 / 3)
    assert result == {
        "R@1": third, "number": 0, "colour": third, "shape": third, "action": third, "order": 0,
    }  # fmt: skip


@pytest.mark.parametrize("head", [True, False])
def test_the_table_has_the_stages_that_the_test_had(head, tmp_path, capsys):
    scores = np.eye(2)
    stages = {"margins": scores, "similarities": scores} if head else {}
    captions = ["a red disc rises", "a blue disc rises"]
    np.savez(tmp_path / "s.npz", scores=scores, captions=captions, truth=np.arange(2), **stages)
    print_confusions(tmp_path / "s.npz")
    assert capsys.readouterr().out.count("100.0") == (3 if head else 1)
