"""The first stage of retrieval: vectors of captions and clips."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

import paddlevideo as pv
from paddlevideo.modeling.heads.retrieval import RetrievalHead
from paddlevideo.modeling.heads.vectors import masked_mean
from paddlevideo.modeling.layers import mask_to_bias
from tests.modeling.tiny import SIZES, build, make_batch


def with_head(seed=0, match_negatives=0, **options):
    paddle.seed(seed)
    model = pv.build_model(
        {
            "framework": "ActBert",
            "backbone": {"name": "BertForMultiModalPreTraining", **SIZES},
            "retrieval_head": {"name": "RetrievalHead", "width": 8, "dropout": 0.0, **options},
            "match_negatives": match_negatives,
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
    scores = texts @ videos.t() * model.retrieval_head.scale
    labels = paddle.arange(4)
    expected = (F.cross_entropy(scores, labels) + F.cross_entropy(scores.t(), labels)) / 2
    found = model(batch)
    assert float(found["retrieval_loss"]) == pytest.approx(float(expected), rel=1e-5)
    total = sum(float(x) for name, x in found.items() if name != "loss")
    assert float(found["loss"]) == pytest.approx(total, rel=1e-5)


def test_other_peoples_captions_and_twins_are_no_positives_and_no_negatives():
    model, batch = with_head(), own_batch()
    mismatched = {**batch, "next_sentence_label": np.array([0, 0, 1, 1])}
    assert model.loss_counts(mismatched)["retrieval_loss"] == 2.0
    none = {**batch, "next_sentence_label": np.ones(4, "int64")}
    assert float(model(none)["retrieval_loss"]) == 0.0
    twins = {key: np.repeat(value[:2], 2, axis=0) for key, value in batch.items()}
    single = {key: value[:2] for key, value in batch.items()}
    assert float(model(twins)["retrieval_loss"]) < float(model(single)["retrieval_loss"]) + 0.7


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


def rank_gathers(model, batches):
    """A gather for each of the ranks that hold ``batches``, with the others' rows from before."""
    seen = [[] for _ in batches]
    for rank, batch in enumerate(batches):
        model.set_gather(lambda rows, rank=rank: (seen[rank].append(rows.detach()), ([rows], 0))[1])
        model(batch)
    gathers = []
    for rank in range(len(batches)):
        calls = iter(zip(*seen, strict=True))
        gathers.append(lambda rows, rank=rank, calls=calls: (list(next(calls)), rank))
    return gathers


@pytest.mark.parametrize("own", ["all", "some", "one rank has none"])
def test_ranks_together_have_the_gradient_and_the_loss_of_one(own):
    """What the training loop does with ranks, by hand: counts are summed, gradients averaged."""
    whole = own_batch(clips=6)
    whole["next_sentence_label"] = {
        "all": np.zeros(6, "int64"),
        "some": np.array([0, 1, 0, 1, 0, 0]),
        "one rank has none": np.array([0, 1, 0, 1, 1, 1]),
    }[own]
    whole["text_ids"][5] = whole["text_ids"][0]  # twins on different ranks are no negatives
    whole["text_labels"][5] = whole["text_labels"][0]
    batches = [{key: value[at] for key, value in whole.items()} for at in (slice(4), slice(4, 6))]
    model = with_head(temperature=0.5)
    model.retrieval_head.alone = True  # the head's loss alone
    expected = model(whole)["loss"]
    expected.backward()
    wanted = {n: p.grad.numpy() for n, p in model.retrieval_head.named_parameters()}
    model.clear_gradients()
    total = sum(model.loss_counts(batch)["retrieval_loss"] for batch in batches)
    value = 0.0
    for batch, gather in zip(batches, rank_gathers(model, batches), strict=True):
        model.set_gather(gather)
        loss = model(batch, {"retrieval_loss": total / 2})["loss"]
        (loss / 2).backward()
        value += float(loss) / 2
    assert value == pytest.approx(float(expected), rel=1e-4)
    for name, parameter in model.retrieval_head.named_parameters():
        np.testing.assert_allclose(parameter.grad.numpy(), wanted[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("negatives", [0, 2])
def test_alone_the_head_learns_and_nothing_else(negatives):
    model = with_head(alone=True, match_negatives=negatives)
    model.train()
    assert not model.backbone.training and model.retrieval_head.training
    found = model(own_batch())
    assert set(found) == {"loss", "retrieval_loss"} == {*model.loss_counts(own_batch()), "loss"}
    found["loss"].backward()
    for name, parameter in model.named_parameters():
        learns = name.startswith("retrieval_head")
        assert (parameter.grad is not None and parameter.grad.numpy().any()) == learns, name
        assert parameter.stop_gradient != learns
    joint = with_head()
    joint.train()
    assert joint.backbone.training


def test_the_weight_that_a_validation_chose_travels_with_the_weights(tmp_path):
    model = with_head(similarity_weight="auto")
    assert np.isnan(model.retrieval_head.weight)
    model.apply_validation_choice({"similarity_weight": 0.5})
    assert model.retrieval_head.weight == 0.5
    path = tmp_path / "w.pdparams"
    paddle.save(model.to_released(model.state_dict()), str(path))
    other = with_head(seed=1, similarity_weight="auto")
    pv.load_weights(other, path, for_test=True)
    assert other.retrieval_head.weight == 0.5
    fixed = with_head(similarity_weight=2.0)
    fixed.apply_validation_choice({"similarity_weight": 0.5})
    assert fixed.retrieval_head.weight == 2.0
    model.apply_validation_choice({})


def test_weights_from_before_a_choice_load_for_a_test(tmp_path):
    path = tmp_path / "w.pdparams"
    paddle.save(with_head().state_dict(), str(path))
    other = with_head(similarity_weight="auto")
    report = pv.load_weights(other, path, for_test=True)
    assert report.missing == ["retrieval_head.chosen_weight"]


def test_every_parameter_of_the_head_learns():
    model = with_head()
    model.train()
    model(own_batch())["loss"].backward()
    for name, parameter in model.retrieval_head.named_parameters():
        assert parameter.grad is not None and parameter.grad.numpy().any(), name
