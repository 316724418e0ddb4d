"""Matching with the other captions of a batch."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from paddlevideo.modeling.contrast import contrast_loss, meetings, same_caption
from paddlevideo.modeling.framework.actbert import cut_padding, labelled_rows
from paddlevideo.modeling.layers import to_tensors
from paddlevideo.runtime import World
from paddlevideo.tasks.accumulation import loss_shares
from tests.modeling.tiny import build, make_batch


def with_negatives(count, **changes):
    model = build(**changes)
    other = build(match_negatives=count, **changes)
    other.set_state_dict(model.state_dict())
    return model, other


def plain_contrast(scores, captions, left_out, own):
    """The loss from a full matrix of scores (captions, clips), pair by pair."""
    met = np.zeros(scores.shape, bool)
    for clips in captions:
        met[clips, np.arange(len(clips))] = True
    met &= ~left_out | np.eye(len(met), dtype=bool)
    masked = np.where(met, scores, -np.inf)
    total = 0.0
    for i in np.flatnonzero(own):
        for line in (masked[:, i], masked[i]):
            total += np.log(np.exp(line - line.max()).sum()) + line.max() - masked[i, i]
    return total / 2 / own.sum()


@pytest.mark.parametrize("negatives", [1, 3, 9])
@pytest.mark.parametrize("tangle", ["released", "paper"])
def test_equals_the_loss_of_the_full_score_matrix(tangle, negatives):
    plain, model = with_negatives(negatives, tangle=tangle)
    batch = make_batch(clips=5)
    batch["next_sentence_label"] = np.array([0, 1, 0, 0, 1])
    batch["text_ids"][3], batch["text_mask"][3] = batch["text_ids"][0], batch["text_mask"][0]
    batch["text_labels"][3] = batch["text_labels"][0]
    scores = plain.margins(plain.encode_captions(batch), plain.encode_videos(batch)).numpy()
    same = np.zeros((5, 5), bool)
    same[0, 3] = same[3, 0] = True
    own = batch["next_sentence_label"] == 0
    expected = plain_contrast(scores, meetings(5, negatives), same, own)
    before, losses = plain(batch), model(batch)
    assert float(losses["contrast_loss"]) == pytest.approx(expected, rel=1e-4)
    assert float(losses["loss"]) == pytest.approx(float(before["loss"]) + expected, rel=1e-5)
    for name in before:
        if name != "loss":
            assert float(losses[name]) == float(before[name]), name


def test_is_off_by_default():
    losses = build()(make_batch())
    assert "contrast_loss" not in losses and "contrast_loss" not in build().denominators(
        make_batch()
    )


def test_nothing_to_compare_gives_zero_not_nan():
    _, model = with_negatives(4)
    alone = {key: value[:1] for key, value in make_batch().items()}
    alone["next_sentence_label"] = np.zeros(1, np.int64)
    assert float(model(alone)["contrast_loss"]) == pytest.approx(0.0, abs=1e-6)
    strangers = make_batch()
    strangers["next_sentence_label"][:] = 1
    losses = model(strangers)
    losses["loss"].backward()
    assert float(losses["contrast_loss"]) == 0.0
    assert model.denominators(strangers)["contrast_loss"] == 0.0


def test_every_clip_meets_as_many_captions_as_every_caption_clips():
    captions = meetings(6, 2)
    assert captions.tolist() == [[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0], [2, 3, 4, 5, 0, 1]]
    assert meetings(3, 10).shape == (3, 3) and meetings(1, 4).tolist() == [[0]]


def test_a_masked_word_does_not_make_captions_differ():
    batch = {
        "text_ids": np.array([[1, 103, 9], [1, 7, 9], [1, 8, 9]]),
        "text_labels": np.array([[-1, 7, -1], [-1, -1, -1], [-1, -1, -1]]),
    }
    same = same_caption(batch, meetings(3, 1))
    assert same.tolist() == [[True, True, True], [True, False, False]]


def test_the_right_pair_wins_or_loses():
    own, same = np.ones(3, bool), np.zeros((3, 3), bool)
    right = np.zeros((3, 3), "float32")
    right[0] = 50
    for margins, expected in ((right, 0.0), (0 * right, np.log(3)), (-right, 50 + np.log(2))):
        loss = contrast_loss(paddle.to_tensor(margins), same, own, 3.0)
        assert float(loss) == pytest.approx(expected, abs=1e-4)


def test_micro_batches_share_the_divisor():
    """The denominator counts clips with their own caption; shares add up to one over a window."""
    _, model = with_negatives(2)
    window = [make_batch(seed, clips=4) for seed in (0, 1)]
    window[0]["next_sentence_label"] = np.array([0, 0, 0, 1])
    window[1]["next_sentence_label"] = np.array([0, 1, 1, 1])
    shares = loss_shares(model, window, World())
    assert [share["contrast_loss"] for share in shares] == [0.75, 0.25]


def test_gradients_reach_both_sides_below_the_first_tangled_layer():
    _, model = with_negatives(2)
    batch = make_batch(clips=4)
    batch["next_sentence_label"][:] = 0
    model.train()
    cut, padded = cut_padding(batch)
    lower = model.backbone.lower(to_tensors(labelled_rows(cut)[0]))
    model.contrast.loss(cut, lower, padded, 4.0)[0].backward()
    for part in (model.backbone.text_embeddings, model.backbone.region_embeddings.feature):
        assert float(paddle.add_n([(p.grad**2).sum() for p in part.parameters()])) > 0
