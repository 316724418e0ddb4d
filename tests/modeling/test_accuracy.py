"""Right answers in training, counted beside the losses."""

import numpy as np
import paddle
import pytest

from paddlevideo.modeling.accuracy import (
    Losses,
    accuracies_of,
    argmax_at,
    class_hits,
    rank_hits,
)
from tests.modeling.test_retrieval_head import own_batch, with_head
from tests.modeling.tiny import build, make_batch


def counts(model, batch):
    """The hits of ``batch`` as numbers; counting is on, dropout is not."""
    model.eval()
    model.training = True
    hits = accuracies_of(model(batch))
    return {name: (int(one.correct), one.total) for name, one in hits.items()}


def test_only_labelled_rows_count():
    logits = paddle.to_tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    hits = class_hits(logits, paddle.to_tensor([1, 2, -1]), 2)
    assert (int(hits.correct), hits.total) == (1, 2)
    nothing = class_hits(logits, paddle.to_tensor([-1, -1, -1]), 0)
    assert (int(nothing.correct), nothing.total) == (0, 0)


def test_the_class_of_a_region_is_its_targets_largest():
    targets = np.array([[0.1, 0.6, 0.3], [0.4, 0.4, 0.2], [0.0, 0.0, 1.0]])
    np.testing.assert_array_equal(argmax_at(targets, np.array([1, 1, -1])), [1, 0, -1])


def test_a_tie_is_no_victory():
    scores = paddle.to_tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0], [5.0, 0.0, 9.0]])
    right = paddle.diagonal(scores)
    counted = paddle.to_tensor([True, True, False])
    hits = rank_hits(scores, right.unsqueeze(1), counted, 2, axis=1)
    assert (int(hits.correct), hits.total) == (1, 2)


def test_the_counts_are_those_of_all_positions_predicted_and_the_labels_looked_up():
    model, batch = build(), make_batch(clips=5)
    output = model.backbone({key: paddle.to_tensor(value) for key, value in batch.items()})
    regions = output.region_logits.numpy()
    regions = regions[:, -batch["image_label"].shape[1] :]  # without the global one
    expected = {}
    for name, logits, labels in (
        ("word", output.text_logits.numpy(), batch["text_labels"]),
        (
            "region",
            regions,
            np.where(batch["image_label"] == 1, batch["image_target"].argmax(-1), -1),
        ),
        ("action", output.action_logits.numpy(), batch["action_label"]),
        ("match", output.match_logits.numpy(), batch["next_sentence_label"].ravel()),
    ):
        right = (logits.argmax(-1) == labels)[labels != -1].sum()
        expected[f"{name}_accuracy"] = (int(right), int((labels != -1).sum()))
    assert counts(model, batch) == expected
    assert sum(right for right, _ in expected.values()) > 0, "the comparison would be empty"


def test_a_batch_without_labels_asks_for_nothing():
    batch = make_batch()
    for key in ("text_labels", "image_label", "action_label"):
        batch[key] = np.full_like(batch[key], -1)
    found = counts(build(), batch)
    for name in ("word_accuracy", "region_accuracy", "action_accuracy"):
        assert found[name] == (0, 0)
    assert found["match_accuracy"][1] == 3


def test_counting_changes_no_loss_and_a_test_counts_nothing():
    model, batch = build(), make_batch()
    tested = model(batch)
    assert accuracies_of(tested) == {}
    model.training = True
    trained = model(batch)
    assert {name: float(loss) for name, loss in tested.items()} == {
        name: float(loss) for name, loss in trained.items()
    }
    assert accuracies_of({"loss": trained["loss"]}) == {}, "a plain dict has none"
    assert all(hits.correct.stop_gradient for hits in trained.accuracies.values())


def test_the_retrieval_head_counts_both_ways():
    model, batch = with_head(), own_batch(clips=4)
    batch["next_sentence_label"][1] = 1  # not its own caption: a negative only
    texts, videos = model.encode_captions(batch).vector, model.encode_videos(batch).vector
    scores = (texts @ videos.t() * model.retrieval_head.scale).numpy()
    asked = [0, 2, 3]
    right = sum(int(scores[i].argmax() == i) + int(scores[:, i].argmax() == i) for i in asked)
    assert counts(model, batch)["retrieval_accuracy"] == (right, 6)


def test_matching_with_other_captions_counts_both_ways():
    model, batch = build(match_negatives=9), own_batch(clips=3)  # everyone meets everyone
    captions, videos = model.encode_captions(batch), model.encode_videos(batch)
    margins = model.margins(captions, videos).numpy()
    right = sum(int(margins[i].argmax() == i) + int(margins[:, i].argmax() == i) for i in range(3))
    labels = batch["text_labels"]
    assert (labels != -1).any(), "words are masked in both"
    assert counts(model, batch)["contrast_accuracy"] == (right, 6)


def test_losses_remain_a_dict():
    losses = Losses({"loss": paddle.ones([])}, {})
    losses["more"] = paddle.zeros([])
    assert list(losses) == ["loss", "more"] and float(losses["loss"]) == pytest.approx(1.0)
