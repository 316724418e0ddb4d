"""The first stage of retrieval: vectors of captions and clips."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

import paddlevideo as pv
from paddlevideo.modeling.heads.retrieval import RetrievalHead, masked_mean
from paddlevideo.modeling.layers import mask_to_bias
from tests.modeling.tiny import SIZES, build, make_batch


def with_head(seed=0, **options):
    paddle.seed(seed)
    model = pv.build_model(
        {
            "framework": "ActBert",
            "backbone": {"name": "BertForMultiModalPreTraining", **SIZES},
            "retrieval_head": {"name": "RetrievalHead", "width": 8, "dropout": 0.0, **options},
        }
    )
    model.eval()
    return model


def own_batch(seed=0, clips=4):
    return {**make_batch(seed, clips=clips), "next_sentence_label": np.zeros(clips, "int64")}


def test_the_mean_leaves_padding_out():
    x = paddle.to_tensor(np.arange(12, dtype="float32").reshape(1, 4, 3))
    mask = paddle.to_tensor([[1, 1, 0, 0]])
    np.testing.assert_allclose(masked_mean(x, mask_to_bias(mask)).numpy(), [[1.5, 2.5, 3.5]])


def test_vectors_have_length_one_and_ignore_padding():
    model, batch = with_head(), own_batch()
    cache = model.encode_videos(batch)
    np.testing.assert_allclose(np.linalg.norm(cache.vector.numpy(), axis=1), 1.0, rtol=1e-5)
    longer = dict(batch)
    for key in ("image_feat", "image_loc", "image_mask"):
        width = [(0, 0), (0, 3)] + [(0, 0)] * (batch[key].ndim - 2)
        longer[key] = np.pad(batch[key], width)
    np.testing.assert_allclose(
        model.encode_videos(longer).vector.numpy(), cache.vector.numpy(), atol=1e-6
    )


def test_the_loss_is_the_mean_cross_entropy_both_ways():
    model, batch = with_head(), own_batch()
    texts = model.encode_captions(batch).vector
    videos = model.encode_videos(batch).vector
    scores = model.retrieval_head.similarities(texts, videos)
    labels = paddle.arange(4)
    expected = (F.cross_entropy(scores, labels) + F.cross_entropy(scores.t(), labels)) / 2
    found = model(batch)
    assert float(found["retrieval_loss"]) == pytest.approx(float(expected), rel=1e-5)
    total = sum(float(x) for name, x in found.items() if name != "loss")
    assert float(found["loss"]) == pytest.approx(total, rel=1e-5)


def test_other_peoples_captions_and_twins_are_no_positives_and_no_negatives():
    model, batch = with_head(), own_batch()
    mismatched = {**batch, "next_sentence_label": np.array([0, 0, 1, 1])}
    assert model.denominators(mismatched)["retrieval_loss"] == 2.0
    none = {**batch, "next_sentence_label": np.ones(4, "int64")}
    assert float(model(none)["retrieval_loss"]) == 0.0
    twins = {key: np.repeat(value[:2], 2, axis=0) for key, value in batch.items()}
    single = {key: value[:2] for key, value in batch.items()}
    assert float(model(twins)["retrieval_loss"]) < float(model(single)["retrieval_loss"]) + 0.7


def test_similarity_is_added_to_margins_by_its_weight():
    captions, videos = make_batch(1, clips=3), make_batch(2, clips=5)
    parts = {}
    for weight in (0.0, 0.5):
        model = with_head(similarity_weight=weight)
        cache = model.encode_captions(captions), model.encode_videos(videos)
        parts[weight] = model.margins(*cache).numpy()
        similarities = model.retrieval_head.similarities(*(c.vector for c in cache)).numpy()
    np.testing.assert_allclose(parts[0.5] - parts[0.0], 0.5 * similarities, rtol=1e-4, atol=1e-5)


def test_without_a_head_nothing_changes_and_published_weights_still_load(tmp_path):
    plain, model = build(), with_head()
    path = tmp_path / "w.pdparams"
    paddle.save(plain.to_released(plain.state_dict()), str(path))
    report = pv.load_weights(model, path)
    assert {name.split(".")[0] for name in report.missing} == {"retrieval_head"}
    assert plain.encode_captions(make_batch()).vector is None


def test_the_learned_scale_has_a_limit():
    head = RetrievalHead(temperature=1e-6)
    assert float(head.scale) == 100.0
    assert float(RetrievalHead(temperature=0.1).scale) == pytest.approx(10.0)


def test_every_parameter_of_the_head_learns():
    model = with_head()
    model.train()
    model(own_batch())["loss"].backward()
    for name, parameter in model.retrieval_head.named_parameters():
        assert parameter.grad is not None and parameter.grad.numpy().any(), name
