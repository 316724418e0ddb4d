"""Matching with the other captions of a batch."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

import paddlevideo as pv
from paddlevideo.modeling.contrast import (
    caption_indices,
    contrast_loss,
    hard_pairs,
    has_same_words,
    original_words,
    scores_by_caption,
    shifted_pairs,
)
from paddlevideo.modeling.framework.actbert import cut_padding, labelled_rows
from paddlevideo.modeling.transfer import gather_alone, to_tensors
from paddlevideo.utils.errors import ConfigError
from tests.modeling.tiny import SIZES, build, make_batch


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
    expected = plain_contrast(scores, shifted_pairs(5, negatives), same, own)
    before, losses = plain(batch), model(batch)
    assert float(losses["contrast_loss"]) == pytest.approx(expected, rel=1e-4)
    assert float(losses["loss"]) == pytest.approx(float(before["loss"]) + expected, rel=1e-5)
    for name in before:
        if name != "loss":
            assert float(losses[name]) == float(before[name]), name


def test_a_clip_and_its_own_caption_are_matched_once(monkeypatch):
    """By the match loss; the contrast scores the negatives alone."""
    _, model = with_negatives(3)
    scored, score = [], model.scorer.pair_margins

    def counted(*pairs):
        margins = score(*pairs)
        scored.append(len(margins))
        return margins

    monkeypatch.setattr(model.scorer, "pair_margins", counted)
    model(make_batch(clips=5))
    assert scored == [3 * 5]


def test_is_off_by_default():
    losses = build()(make_batch())
    assert "contrast_loss" not in losses
    assert "contrast_loss" not in build().loss_counts(make_batch())


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
    assert model.loss_counts(strangers)["contrast_loss"] == 0.0


def test_every_clip_meets_as_many_captions_as_every_caption_clips():
    captions = shifted_pairs(6, 2)
    assert captions.tolist() == [[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0], [2, 3, 4, 5, 0, 1]]
    assert shifted_pairs(3, 10).shape == (3, 3) and shifted_pairs(1, 4).tolist() == [[0]]


def test_a_masked_word_does_not_make_captions_differ():
    batch = {
        "text_ids": np.array([[1, 103, 9], [1, 7, 9], [1, 8, 9]]),
        "text_labels": np.array([[-1, 7, -1], [-1, -1, -1], [-1, -1, -1]]),
    }
    same = has_same_words(original_words(batch), shifted_pairs(3, 1))
    assert same.tolist() == [[True, True, True], [True, False, False]]


def test_the_right_pair_wins_or_loses():
    own, at = paddle.ones([3]), paddle.to_tensor(caption_indices(shifted_pairs(3, 2)))
    right = np.zeros((3, 3), "float32")
    right[0] = 50
    for margins, expected in ((right, 0.0), (0 * right, np.log(3)), (-right, 50 + np.log(2))):
        scores = paddle.to_tensor(margins)
        loss = contrast_loss(scores, scores_by_caption(scores, at), own, 3.0)
        assert float(loss) == pytest.approx(expected, abs=1e-4)


def test_only_clips_with_their_own_caption_are_counted():
    _, model = with_negatives(2)
    batch = make_batch(clips=4)
    batch["next_sentence_label"] = np.array([0, 0, 0, 1])
    assert model.loss_counts(batch)["contrast_loss"] == 3.0
    mean, total = model(batch), model(batch, dict.fromkeys(model.loss_counts(batch), 1.0))
    assert float(total["contrast_loss"]) == pytest.approx(3 * float(mean["contrast_loss"]), 1e-5)


def test_gradients_reach_both_sides_below_the_first_tangled_layer():
    _, model = with_negatives(2)
    batch = make_batch(clips=4)
    batch["next_sentence_label"][:] = 0
    model.train()
    cut, padded = cut_padding(batch)
    tensors = on_device(cut)
    lower = model.backbone.lower(tensors)
    own = paddle.zeros([4, 2])  # without a gradient
    model.contrast.loss(cut, tensors, lower, padded, own, 4.0)[0].backward()
    for part in (model.backbone.text_embeddings, model.backbone.region_embeddings.feature):
        assert float(paddle.add_n([(p.grad**2).sum() for p in part.parameters()])) > 0


def test_the_hardest_captions_come_first_and_never_the_own_one():
    similar = np.array([[9.0, 1, 5, 3], [2, 4, 0, 8]])
    own = np.array([0, 3])
    assert hard_pairs(similar, own, 2, 2).T.tolist() == [[0, 2, 3], [3, 1, 0]]
    assert hard_pairs(similar, own, 1, 2).T.tolist() == [[0, 2, 1], [3, 1, 0]]  # then one by one
    assert hard_pairs(similar, own, 1, 9).T.tolist() == [[0, 2, 1, 3], [3, 1, 0, 2]]
    np.testing.assert_array_equal(
        hard_pairs(np.zeros((4, 4)), np.arange(4), 0, 2), shifted_pairs(4, 2)
    )


def hard_model(negatives, hard, seed=0, **options):
    model = pv.build_model(
        {
            "framework": "ActBert",
            "backbone": {"name": "BertForMultiModalPreTraining", **SIZES},
            "match_negatives": negatives,
            "hard_negatives": hard,
            "retrieval_head": {"name": "RetrievalHead", "width": 8, "dropout": 0.0},
            **options,
        }
    )
    start = build(seed).state_dict()
    for name, value in model.state_dict().items():
        if name in start:
            value.set_value(start[name])
    model.eval()
    return model


def on_device(batch):
    return to_tensors({**labelled_rows(batch)[0], "original_words": original_words(batch)})


def mined(contrast, tensors, lower, captions):
    return contrast.pairs(captions, contrast.similarities(tensors, lower, captions))


def margins(contrast, lower, padded, captions, pairs):
    clips = np.tile(np.arange(pairs.shape[1]), len(pairs))
    at = to_tensors((pairs.ravel(), clips))
    return contrast.margins(lower, padded, captions, *at).reshape(pairs.shape)


def test_hard_negatives_are_those_that_the_head_finds_most_similar():
    model, batch = hard_model(3, 2), make_batch(clips=6)
    batch["next_sentence_label"] = np.array([0, 1, 0, 0, 1, 0])
    texts = {**batch, "text_ids": original_words(batch)}
    # The head sees the masked words' states, so those are what is compared with here.
    similar = model.encode_videos(batch).vector @ model.encode_captions(batch).vector.t()
    met = hard_pairs(similar.numpy(), np.arange(6), 2, 3)
    scores = model.margins(model.encode_captions(batch), model.encode_videos(batch)).numpy()
    same = (texts["text_ids"][:, None] == texts["text_ids"]).all(axis=-1) & ~np.eye(6, dtype=bool)
    expected = plain_contrast(scores, met, same, batch["next_sentence_label"] == 0)
    assert float(model(batch)["contrast_loss"]) == pytest.approx(expected, rel=1e-4)


def test_hard_negatives_come_from_all_ranks():
    """Two ranks mine among the captions of both; each clip's loss is that of one process."""
    whole = make_batch(clips=6)
    whole["next_sentence_label"] = np.zeros(6, np.int64)
    whole["text_mask"][:4, 7:] = whole["text_ids"][:4, 7:] = 0  # rank 0 cuts more padding off
    whole["text_labels"][:4, 7:] = -1
    parts = [{key: value[at] for key, value in whole.items()} for at in (slice(4), slice(4, 6))]
    model = hard_model(3, 2)
    seen = [[], []]
    for rank, batch in enumerate(parts):
        model.set_gather(lambda rows, rank=rank: (seen[rank].append(rows.detach()), ([rows], 0))[1])
        model(batch)
    met = []
    for rank, batch in enumerate(parts):
        calls = iter(zip(*(rows[:3] for rows in seen), strict=True))
        model.contrast.gather = lambda rows, rank=rank, calls=calls: (list(next(calls)), rank)
        model.learned_head.gather = lambda rows: ([rows], 0)
        cut, padded = cut_padding(batch)
        tensors = on_device(cut)
        lower = model.backbone.lower(tensors)
        captions = model.contrast.captions(cut, tensors, lower, padded)
        met.append(mined(model.contrast, tensors, lower, captions))
        assert captions.positive.tolist() == [[0, 1, 2, 3], [4, 5]][rank]
        lengths = (captions.state.shape[1], captions.bias.shape[3], captions.words.shape[1])
        assert set(lengths) == {int(whole["text_mask"].any(axis=0).sum())}  # no shared padding
        assert float(margins(model.contrast, lower, padded, captions, met[-1]).sum()) != 0
    cut, padded = cut_padding(whole)
    tensors = on_device(cut)
    lower = model.backbone.lower(tensors)
    model.contrast.gather = gather_alone
    captions = model.contrast.captions(cut, tensors, lower, padded)
    expected = mined(model.contrast, tensors, lower, captions)
    np.testing.assert_array_equal(np.concatenate(met, axis=1), expected)
    assert captions.state.shape[1] == lower.states.text.shape[1] < padded.text
    both = margins(model.contrast, lower, padded, captions, expected)
    assert both.shape == [4, 6]


@pytest.mark.parametrize("hard", [0, 2])
def test_a_teacher_replaces_part_of_the_target(hard):
    """By the head's probabilities of the candidates, without what equals the clip's caption."""
    batch = make_batch(clips=6)
    batch["next_sentence_label"] = np.array([0, 1, 0, 0, 1, 0])
    batch["text_ids"][3], batch["text_mask"][3] = batch["text_ids"][0], batch["text_mask"][0]
    batch["text_labels"][3] = batch["text_labels"][0]
    plain, taught = (hard_model(3, hard, teacher_weight=w) for w in (0.0, 0.25))
    taught.set_state_dict(plain.state_dict())
    captions, videos = plain.encode_captions(batch), plain.encode_videos(batch)
    similar = (captions.vector @ videos.vector.t()).numpy() * float(plain.retrieval_head.scale)
    scores = plain.margins(captions, videos).numpy()
    met = np.zeros((6, 6), bool)
    pairs = hard_pairs(similar.T, np.arange(6), hard, 3) if hard else shifted_pairs(6, 3)
    met[pairs, np.arange(6)] = True
    met[0, 3] = met[3, 0] = False
    loss = 0.0
    for line in [(slice(None), i) for i in (0, 2, 3, 5)] + [(i, slice(None)) for i in (0, 2, 3, 5)]:
        held = met[line]
        shares = [np.exp(x[line][held] - x[line][held].max()) for x in (similar, scores)]
        target, model = (x / x.sum() for x in shares)
        loss -= (target * np.log(model)).sum() / 8
    expected = 0.75 * float(plain(batch)["contrast_loss"]) + 0.25 * loss
    found = taught(batch)
    assert float(found["contrast_loss"]) == pytest.approx(expected, rel=1e-4)
    assert float(found["loss"]) != float(plain(batch)["loss"])


def test_the_teacher_is_not_taught_by_the_contrast():
    model = hard_model(3, 0, teacher_weight=1.0)
    model(make_batch(clips=5))["contrast_loss"].backward()
    assert all(p.grad is None for p in model.retrieval_head.parameters())
    assert any(p.grad is not None for p in model.backbone.encoder.tangled.parameters())


@pytest.mark.parametrize("missing", ["match_negatives", "retrieval_head"])
def test_a_teacher_needs_a_head_and_captions_to_compare(missing):
    model = {
        "framework": "ActBert",
        "backbone": {"name": "BertForMultiModalPreTraining", **SIZES},
        "match_negatives": 2,
        "retrieval_head": {"name": "RetrievalHead"},
        "teacher_weight": 0.5,
    }
    with pytest.raises(ConfigError, match="teacher_weight.*retrieval_head"):
        pv.build_model({key: value for key, value in model.items() if key != missing})


def test_hard_negatives_need_a_head_to_mine_with():
    with pytest.raises(ConfigError, match="hard_negatives.*retrieval_head"):
        pv.build_model(
            {
                "framework": "ActBert",
                "backbone": {"name": "BertForMultiModalPreTraining", **SIZES},
                "match_negatives": 2,
                "hard_negatives": 2,
            }
        )


def test_no_words_or_regions_are_asked_of_clips_with_anothers_caption():
    batch = make_batch(clips=5)
    batch["next_sentence_label"] = np.array([0, 1, 0, 1, 0])
    own = {key: value[[0, 2, 4]] for key, value in batch.items()}
    model, released = (build(loss={"mismatched": m, "normalize": "labels"}) for m in (False, True))
    found, expected = model(batch), released(own)
    for name in ("text_loss", "region_loss"):
        assert float(found[name]) == pytest.approx(float(expected[name]), rel=1e-4)
    for name in ("action_loss", "match_loss"):
        assert float(found[name]) == pytest.approx(float(released(batch)[name]), rel=1e-4)
