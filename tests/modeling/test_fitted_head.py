"""The retrieval head that is fitted in closed form."""

from __future__ import annotations

import threading

import numpy as np
import paddle
import pytest

import paddlevideo as pv
from paddlevideo.modeling.heads.fitted import FittedHead, Pairs
from paddlevideo.utils.errors import ConfigError, DataError
from tests.modeling.tiny import SIZES, make_batch

FEATURES = SIZES["v_feature_size"] + SIZES["a_feature_size"]
WIDTH = SIZES["hidden_size"]


def with_head(seed=0, fixed_t_layer=1, match_negatives=0, teacher_weight=0.0, **options):
    paddle.seed(seed)
    model = pv.build_model(
        {
            "framework": "ActBert",
            "backbone": {
                "name": "BertForMultiModalPreTraining",
                **SIZES,
                "fixed_t_layer": fixed_t_layer,
            },
            "retrieval_head": {"name": "FittedHead", "words": 8, **options},
            "match_negatives": match_negatives,
            "teacher_weight": teacher_weight,
        }
    )
    model.eval()
    return model


def random_pairs(count=40, seed=0):
    rng = np.random.default_rng(seed)
    words = rng.integers(2, 60, (count, 7))
    words[:, 0], words[::3, 5:] = 1, -1  # what all have, and padding
    return Pairs(
        rng.normal(2, 3, (count, FEATURES)).astype("float32"),
        rng.normal(1, 1, (count, WIDTH)).astype("float32"),
        words,
    )


def unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def plain_fit(pairs, others, words, word_weight, penalty):
    """Captions' and clips' vectors by the dual form of ridge regression, word by word."""
    count = len(pairs.features)
    held = [set(row[row >= 0].tolist()) for row in pairs.words]
    holding = {w: sum(w in row for row in held) for row in held for w in row}
    known = [w for w in sorted(holding) if 2 <= holding[w] <= count / 5]
    chosen = sorted(known, key=lambda w: -holding[w])[:words]
    bag = np.array([[np.log(count / holding[w]) * (w in row) for w in chosen] for row in held])
    sentences = unit(pairs.sentences - pairs.sentences.mean(axis=0))
    target = np.hstack([sentences, word_weight * unit(bag)])
    mean, deviation = pairs.features.mean(axis=0), pairs.features.std(axis=0)
    root = np.sqrt(np.repeat(*[[SIZES["v_feature_size"], SIZES["a_feature_size"]]] * 2))
    x, z = ((rows - mean) / deviation / root for rows in (pairs.features, others))
    centred = target - target.mean(axis=0)
    weights = x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(count), centred)
    return unit(target), unit(z @ weights)


def alone(array):
    return np.asarray(array, np.float64)


def of_actions(pairs):
    return Pairs(pairs.features[:, SIZES["v_feature_size"] :], pairs.sentences, pairs.words)


def vectors(head, pairs):
    """Those that a test computes, from what the streams and the batches hold."""
    seen = (paddle.to_tensor(pairs.features) - head.feature_mean) * head.feature_scale
    mask = (pairs.words >= 0).astype("int64")
    arrays = (pairs.sentences, np.maximum(pairs.words, 0), mask)
    target = head.target(*map(paddle.to_tensor, arrays)).numpy()
    return unit(target), unit((seen @ head.map).numpy())


@pytest.mark.parametrize(("words", "penalty"), [(8, 2.0), (0, 0.1), (60, 8.0)])
def test_equals_ridge_regression_written_out(words, penalty):
    pairs, others = random_pairs(), random_pairs(9, seed=1)
    head = with_head(words=words, penalty=penalty, word_weight=1.5).retrieval_head
    head.fit(pairs, alone)
    captions, clips = plain_fit(pairs, others.features, words, 1.5 if words else 0.0, penalty)
    found, found_clips = vectors(head, pairs)[0], vectors(head, others)[1]
    chosen = captions.shape[1]  # the columns of words that are too rare stay empty
    np.testing.assert_allclose(found[:, :chosen], captions, atol=2e-5)
    assert not found[:, chosen:].any()
    np.testing.assert_allclose(found_clips[:, :chosen], clips, atol=2e-4)


@pytest.mark.parametrize("options", [{}, {"streams": ["actions"], "scale_captions": True}])
def test_ranks_fit_what_one_does(options):
    pairs = random_pairs()
    if options:
        pairs = of_actions(pairs)
    one = with_head(**options).retrieval_head
    one.fit(pairs, alone)
    parts = [
        Pairs(pairs.features[at], pairs.sentences[at], pairs.words[at])
        for at in (slice(0, 25), slice(25, 40), slice(40, 40))
    ]
    barrier, given, heads = threading.Barrier(3), [None] * 3, []

    def total_of(rank):
        def total(array):
            given[rank] = np.asarray(array, np.float64)
            barrier.wait()
            together = sum(given)
            barrier.wait()
            return together

        return total

    heads = [with_head(**options).retrieval_head for _ in parts]
    threads = [
        threading.Thread(target=head.fit, args=(part, total_of(rank)))
        for rank, (head, part) in enumerate(zip(heads, parts, strict=True))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, expected in one.state_dict().items():
        for head in heads:
            np.testing.assert_array_equal(
                head.state_dict()[name].numpy(), heads[0].state_dict()[name].numpy()
            )
            np.testing.assert_allclose(head.state_dict()[name].numpy(), expected, atol=1e-5)


def test_a_map_from_one_stream_does_not_read_the_other():
    pairs = random_pairs()
    both, one = with_head().retrieval_head, with_head(streams=["actions"]).retrieval_head
    silent = pairs.features.copy()
    silent[:, : SIZES["v_feature_size"]] = 7.0
    both.fit(Pairs(silent, pairs.sentences, pairs.words), alone)
    one.fit(of_actions(pairs), alone)
    np.testing.assert_allclose(
        one.map.numpy(), both.map.numpy()[SIZES["v_feature_size"] :], atol=1e-5
    )
    batch = make_batch(0, clips=6)
    videos = {key: paddle.to_tensor(batch[key]) for key in ("action_feat", "action_mask")}
    assert one.video_vectors((), (), videos).shape == [len(batch["action_feat"]), one.width]


def test_the_order_of_streams_does_not_matter():
    """Weights do not say in which order they were named."""
    listed, reversed_ = (
        with_head(streams=names).retrieval_head
        for names in (["regions", "actions"], ["actions", "regions"])
    )
    batch = make_batch(0, clips=6)
    videos = {
        key: paddle.to_tensor(batch[key]) for key in ("image_feat", "action_feat", "action_mask")
    }
    np.testing.assert_array_equal(listed.features(videos), reversed_.features(videos))
    assert listed.features.parts == reversed_.features.parts


@pytest.mark.parametrize("streams", [[], ["actions", "actions"]])
def test_streams_are_named_once_each(streams):
    with pytest.raises(ConfigError, match=r"FittedHead: streams=.*each once"):
        with_head(streams=streams)


def test_scaled_captions_are_equally_similar_to_the_training_clips():
    pairs = random_pairs()
    plain, scaled = (with_head(scale_captions=scale).retrieval_head for scale in (False, True))
    for head in (plain, scaled):
        head.fit(pairs, alone)
    captions, clips = vectors(plain, pairs)
    lengths = 1 / np.sqrt(((captions @ clips.T) ** 2).mean(axis=1))
    expected = captions * (lengths / lengths.mean())[:, None]
    found = scaled.scaled(paddle.to_tensor(captions)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert lengths.max() > 1.2 * lengths.min()


def test_finds_unseen_clips_where_captions_follow_from_features():
    rng = np.random.default_rng(0)
    pairs, others = random_pairs(400), random_pairs(50, seed=1)
    rule = rng.normal(size=(FEATURES, WIDTH))
    told = [
        Pairs(p.features, (p.features @ rule).astype("float32"), p.words) for p in (pairs, others)
    ]
    head = with_head(words=0, penalty=1.0).retrieval_head
    head.fit(told[0], alone)
    captions, clips = vectors(head, told[1])
    assert ((captions @ clips.T).argmax(axis=1) == np.arange(50)).mean() > 0.9


def fitted(seed=0, **options):
    model, batches = with_head(seed, **options), [make_batch(s, clips=6) for s in range(4)]
    model.fit(batches, alone)
    return model, batches


def test_is_fitted_to_batches_and_leaves_out_other_clips_captions():
    model, batches = fitted()
    own = [{k: v[b["next_sentence_label"] == 0] for k, v in b.items()} for b in batches]
    other = with_head()
    other.fit(own, alone)
    for name, value in model.retrieval_head.state_dict().items():
        np.testing.assert_allclose(value, other.retrieval_head.state_dict()[name], atol=1e-6)
    assert np.abs(model.retrieval_head.map.numpy()).sum() > 0


def test_vectors_of_a_test_are_those_of_the_fit_and_ignore_padding():
    model, batches = fitted()
    batch = batches[0]
    captions, videos = model.encode_captions(batch).vector, model.encode_videos(batch).vector
    for found in (captions, videos):
        np.testing.assert_allclose(np.linalg.norm(found.numpy(), axis=1), 1.0, rtol=1e-5)
    longer = dict(batch)
    for key in ("text_ids", "token_type_ids", "text_mask"):
        longer[key] = np.pad(batch[key], [(0, 0), (0, 4)])
    for key in ("action_feat", "action_mask"):  # as the gallery pads them: with a mask of 1
        pad = [(0, 0), (0, 2)] + [(0, 0)] * (batch[key].ndim - 2)
        longer[key] = np.pad(batch[key], pad, constant_values=int(key == "action_mask"))
    np.testing.assert_allclose(model.encode_captions(longer).vector, captions, atol=1e-6)
    np.testing.assert_allclose(model.retrieval_head.video_vectors((), (), {
        key: paddle.to_tensor(longer[key]) for key in ("image_feat", "action_feat", "action_mask")
    }), videos, atol=1e-6)  # fmt: skip


def test_has_no_loss_and_keeps_the_text_as_it_was_fitted():
    model, batches = fitted()
    model.train()
    losses = model(batches[0])
    losses["loss"].backward()
    assert "retrieval_loss" not in losses and "retrieval_loss" not in model.loss_counts(batches[0])
    assert all(p.stop_gradient for p in model.backbone.text_embeddings.parameters())
    assert all(p.stop_gradient for p in model.retrieval_head.parameters())
    with pytest.raises(ConfigError, match="fixed_t_layer=1"):
        with_head(fixed_t_layer=0)


def test_a_constant_feature_says_nothing_and_a_broken_one_is_refused():
    pairs = random_pairs()
    pairs.features[:, 3] = 5.0
    head = with_head().retrieval_head
    head.fit(pairs, alone)
    assert head.feature_scale.numpy()[3] == 0 and np.isfinite(head.map.numpy()).all()
    pairs.features[7, 2] = np.nan
    with pytest.raises(DataError, match="not finite"):
        head.fit(pairs, alone)
    with pytest.raises(DataError, match="at least 2"):
        head.fit(head.no_pairs(), alone)


@pytest.mark.parametrize("wrong", [{"words": -1}, {"penalty": 0}, {"clips": 1}])
def test_numbers_that_nothing_can_be_fitted_with(wrong):
    with pytest.raises(ConfigError, match="FittedHead"):
        FittedHead(**wrong)


@pytest.mark.parametrize("scale", [False, True])
def test_the_fit_is_a_part_of_the_weights(tmp_path, scale):
    model, batches = fitted(scale_captions=scale)
    path = tmp_path / "w.pdparams"
    paddle.save(model.to_released(model.state_dict()), str(path))
    other = with_head(seed=1, scale_captions=scale)
    pv.load_weights(other, path, for_test=True)
    np.testing.assert_array_equal(
        other.encode_captions(batches[0]).vector, model.encode_captions(batches[0]).vector
    )
    np.testing.assert_array_equal(
        other.encode_videos(batches[0]).vector, model.encode_videos(batches[0]).vector
    )


def test_a_stream_can_be_left_out():
    """Whatever a left-out stream holds, nothing changes: losses, the fit, vectors and scores."""
    for stream, key in (("regions", "image_feat"), ("actions", "action_feat")):
        batches = [make_batch(s, clips=6) for s in range(4)]
        others = [{**b, key: b[key] * 3 - 1} for b in batches]
        seen = []
        for data in (batches, others):
            paddle.seed(0)
            model = pv.build_model(
                {
                    "framework": "ActBert",
                    "backbone": {
                        "name": "BertForMultiModalPreTraining",
                        **SIZES,
                        "fixed_t_layer": 1,
                    },
                    "retrieval_head": {"name": "FittedHead", "words": 8},
                    "without": [stream],
                }
            )
            model.eval()
            model.fit(data, alone)
            videos = model.encode_videos(data[0])
            margins = model.margins(model.encode_captions(data[0]), videos)
            seen.append([model(data[0])["loss"], videos.vector, margins])
        for first, second in zip(*seen, strict=True):
            np.testing.assert_array_equal(first.numpy(), second.numpy())
        with_all = fitted()[0].encode_videos(batches[0]).vector
        assert float((with_all - seen[0][1]).abs().max()) > 1e-3


def test_arrays_of_half_precision_are_set_and_used():
    """Mixed precision of level O2 turns a layer's arrays into float16."""
    exact, pairs = with_head().retrieval_head, random_pairs()
    exact.fit(pairs, alone)
    half = with_head().retrieval_head
    for name, array in list(half.named_buffers()):
        if array.dtype == paddle.float32:
            half.register_buffer(name, array.astype("float16"))
    half.fit(pairs, alone)
    assert half.map.dtype == paddle.float16
    rows = np.asarray(pairs.features[:, None])
    batch = {
        "image_feat": paddle.to_tensor(rows[..., :12]),
        "action_feat": paddle.to_tensor(rows[..., 12:]),
        "action_mask": paddle.ones([len(rows), 1], "int64"),
    }
    found, expected = (head.video_vectors((), (), batch).numpy() for head in (half, exact))
    assert (found * expected).sum(axis=1).min() > 0.99


@pytest.mark.parametrize("scale", [False, True])
def test_as_a_teacher_it_leaves_each_clip_out(scale):
    """As another fit without the clip would, with the words and the scales of all clips."""
    pairs = random_pairs()
    head = with_head(match_negatives=2, teacher_weight=0.5, scale_captions=scale).retrieval_head
    head.fit(pairs, alone)
    x = (paddle.to_tensor(pairs.features) - head.feature_mean) * head.feature_scale
    mask = paddle.to_tensor((pairs.words >= 0).astype("int64"))
    words, states = paddle.to_tensor(np.maximum(pairs.words, 0)), pairs.sentences[:, None]
    bias = paddle.zeros([len(states), 1, 1, 1])
    texts = {"text_ids": words, "text_mask": mask}
    y = head.target(paddle.to_tensor(pairs.sentences), words, mask).numpy()
    mean, expected = y.mean(axis=0), []
    for i, row in enumerate(x.numpy()):
        others = np.arange(len(y)) != i
        z, t = x.numpy()[others], y[others] - mean
        weights = np.linalg.solve(z.T @ z + head.penalty * np.eye(z.shape[1]), z.T @ t)
        expected.append(unit((row @ weights)[None])[0])
    actions = paddle.to_tensor(pairs.features[:, None, SIZES["v_feature_size"] :])
    videos = {
        "image_feat": paddle.to_tensor(pairs.features[:, None, : SIZES["v_feature_size"]]),
        "action_feat": actions,
        "action_mask": paddle.ones(actions.shape[:2]),
    }
    found = head.similarities_in_training(
        (paddle.to_tensor(states), bias, texts), ((), (), videos), np.arange(len(y))
    )
    compared = head.scaled(paddle.to_tensor(y)).numpy()
    assert scale == (abs(np.linalg.norm(compared, axis=1) - 1).max() > 0.05)
    np.testing.assert_allclose(found.numpy(), np.array(expected) @ compared.T, atol=2e-4)
    seen = head.video_vectors((), (), videos).numpy() @ compared.T
    assert np.diag(seen).mean() > np.diag(found.numpy()).mean() + 0.1  # it knows what it has seen


def test_what_leaves_a_clip_out_is_not_saved():
    head = with_head(match_negatives=2, teacher_weight=0.5).retrieval_head
    head.fit(random_pairs(), alone)
    assert set(head.state_dict()) == set(with_head().retrieval_head.state_dict())
