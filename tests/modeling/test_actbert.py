"""Properties of the model that hold whatever its weights are."""

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paddlevideo.modeling import layers
from paddlevideo.modeling.backbones import tangled as tangled_module
from paddlevideo.modeling.backbones.tangled import spread_matrix
from paddlevideo.modeling.match_scorer import VideoCache
from paddlevideo.modeling.transfer import to_tensors
from paddlevideo.utils.errors import ConfigError, DataError
from tests.modeling.tiny import build, make_batch


def plain_losses(model, batch):
    """Losses from predictions at every position, nothing cut."""
    tensors = to_tensors(batch)
    output = model.backbone(tensors)
    output = output._replace(region_logits=output.region_logits[:, 1:])
    return model.loss(output, tensors, model.loss_counts(batch))


@pytest.mark.parametrize("normalize", ["positions", "labels"])
@pytest.mark.parametrize("tangle", ["released", "paper"])
def test_cutting_padding_and_picking_rows_changes_no_loss(tangle, normalize):
    model = build(tangle=tangle, loss={"normalize": normalize})
    for seed in range(4):
        batch = make_batch(seed)
        expected, found = plain_losses(model, batch), model(batch)
        for name in expected:
            assert float(found[name]) == pytest.approx(float(expected[name]), rel=2e-5), name


def test_nothing_masked_gives_zero_not_nan(tiny_model, batch):
    batch = {
        **batch,
        "text_labels": np.full_like(batch["text_labels"], -1),
        "image_label": np.full_like(batch["image_label"], -1),
        "action_label": np.full_like(batch["action_label"], -1),
    }
    losses = tiny_model(batch)
    losses["loss"].backward()
    assert float(losses["text_loss"]) == 0.0
    assert float(losses["region_loss"]) == 0.0
    assert float(losses["action_loss"]) == 0.0
    assert np.isfinite(float(losses["match_loss"]))
    head = tiny_model.backbone.word_head.transform.dense.weight
    assert head.grad is not None and not head.grad.numpy().any()


def test_a_released_tangle_leaves_actions_alone_and_a_paper_one_does_not(batch):
    other = {**batch, "text_ids": batch["text_ids"][::-1].copy()}
    for tangle, equal in (("released", True), ("paper", False)):
        model = build(tangle=tangle)
        first, second = (model.backbone.encode(to_tensors(b)).actions for b in (batch, other))
        assert np.allclose(first.numpy(), second.numpy(), atol=1e-6) == equal


def test_every_trainable_parameter_gets_a_gradient(batch):
    for changes in ({}, {"tangle": "paper"}, {"fixed_t_layer": 1}, {"fusion_method": "sum"}):
        model = build(**changes)
        model.train()
        model(batch)["loss"].backward()
        without = {n for n, p in model.named_parameters() if p.grad is None}
        frozen = {n for n, p in model.named_parameters() if p.stop_gradient}
        assert without == frozen, changes


def test_a_bias_of_keys_has_no_gradient_but_rounding(batch):
    """It adds the same number to every score of a query, which softmax cancels."""
    model = build()
    model(batch)["loss"].backward()
    norms = {n: float(p.grad.norm()) for n, p in model.named_parameters() if p.grad is not None}
    keys = [name for name in norms if name.endswith("key.bias")]
    assert len(keys) > 10
    assert max(norms[name] for name in keys) < 1e-6 * max(norms.values())
    assert norms["backbone.encoder.layers.text.0.attention.query.bias"] > 1e-4 * max(norms.values())


def test_frozen_layers_and_their_embeddings_do_not_train(batch):
    model = build(
        fixed_t_layer=1, fixed_v_layer=1, v_ent_attention_id=[1, 2], t_ent_attention_id=[1, 2]
    )
    frozen = {name for name, p in model.named_parameters() if p.stop_gradient}
    assert any(name.startswith("backbone.encoder.layers.text.0.") for name in frozen)
    assert any(name.startswith("backbone.encoder.layers.regions.0.") for name in frozen)
    assert any(name.startswith("backbone.region_embeddings.") for name in frozen)
    assert "backbone.text_embeddings.position.weight" in frozen
    assert "backbone.text_embeddings.word.weight" not in frozen  # the decoder still trains it
    assert not any(name.startswith("backbone.encoder.layers.text.1.") for name in frozen)


def test_padding_word_is_zero_on_input_and_gets_no_gradient_there(tiny_model):
    ids = paddle.to_tensor([[5, 0, 7]])
    embeddings = tiny_model.backbone.text_embeddings
    before = embeddings(ids, paddle.zeros_like(ids)).numpy()
    row = embeddings.word.weight.numpy()
    row[0] = 100.0
    embeddings.word.weight.set_value(paddle.to_tensor(row))
    after = embeddings(ids, paddle.zeros_like(ids))
    np.testing.assert_array_equal(before, after.numpy())
    after.sum().backward()
    assert not embeddings.word.weight.grad.numpy()[0].any()


def test_stretch_is_nearest_interpolation():
    for actions in range(1, 8):
        context = paddle.arange(actions, dtype="float32").reshape([1, actions, 1])
        for positions in range(1, 65):
            expected = paddle.nn.functional.interpolate(
                context.reshape([1, 1, 1, actions]), size=[1, positions], mode="nearest"
            )
            matrix = spread_matrix(actions, positions, positions).numpy()
            np.testing.assert_array_equal(
                context.numpy().ravel() @ matrix,
                expected.numpy().ravel(),
                f"{actions} to {positions}",
            )
            cut = (positions + 1) // 2
            np.testing.assert_array_equal(
                spread_matrix(actions, cut, positions).numpy(), matrix[:, :cut]
            )


def assert_scores_equal_plain_forward(model, captions, videos):
    """Margins from caches against margins from whole pairs, relative to their spread."""
    found = model.margins(model.encode_captions(captions), model.encode_videos(videos)).numpy()
    expected = np.empty_like(found)
    text = ("text_ids", "token_type_ids", "text_mask")
    for row, column in np.ndindex(*found.shape):
        pair = {k: v[[row]] if k in text else videos[k][[column]] for k, v in captions.items()}
        logits = model.backbone(to_tensors(pair)).match_logits.numpy()[0]
        expected[row, column] = logits[0] - logits[1]
    rounding = 2e-7 * np.abs(expected).max()
    assert np.abs(found - expected).max() <= 1e-5 * expected.std() + rounding


@pytest.mark.skipif(layers.PADDLE_RELEASE < 3, reason="Paddle 2.6 has the operator on GPUs only")
@pytest.mark.parametrize("tangle", ["released", "paper"])
def test_the_fused_attention_of_gpus_gives_the_same(monkeypatch, tangle):
    """Its operator runs on a CPU too; what only a GPU can show is its speed."""
    captions, videos = make_batch(1, clips=3), make_batch(2, clips=5)
    model = build(tangle=tangle)
    batch = make_batch(3)
    plain = model.backbone(to_tensors(batch))
    margins = model.margins(model.encode_captions(captions), model.encode_videos(videos)).numpy()
    monkeypatch.setattr(layers, "on_gpu", lambda: True)
    for module in (layers, tangled_module):
        monkeypatch.setattr(module, "fuses_attention", lambda query: True)
    fused = model.backbone(to_tensors(batch))
    for first, second in zip(plain, fused, strict=True):
        np.testing.assert_allclose(first.numpy(), second.numpy(), rtol=1e-4, atol=1e-5)
    found = model.margins(model.encode_captions(captions), model.encode_videos(videos)).numpy()
    np.testing.assert_allclose(found, margins, rtol=1e-4, atol=1e-5)
    model.train()
    model(batch)["loss"].backward()
    assert np.isfinite(model.backbone.match_head.weight.grad.numpy()).all()


def test_scores_equal_the_plain_forward():
    for changes in (
        {},
        {"tangle": "paper"},
        {"fusion_method": "sum"},
        {"t_ent_attention_id": [0], "v_ent_attention_id": [1], "a_ent_attention_id": [2]},
        {"t_ent_attention_id": [3], "v_ent_attention_id": [2], "a_ent_attention_id": [2]},
        {"t_ent_attention_id": [], "v_ent_attention_id": [], "a_ent_attention_id": []},
    ):
        model = build(pair_batch=2, **changes)
        assert_scores_equal_plain_forward(model, make_batch(1, clips=3), make_batch(2, clips=5))


def test_a_tangled_layer_computes_the_pooled_rows_where_it_is_the_last():
    """For every pair: all rows of a caption would take as many times the products."""
    last = {"t_ent_attention_id": [3], "v_ent_attention_id": [2], "a_ent_attention_id": [2]}
    batch = make_batch(clips=2)
    for changes, rows in ((last, (1, 1)), ({**last, "v_ent_attention_id": [1]}, (1, None))):
        model = build(**changes)
        captions, videos = model.encode_captions(batch), model.encode_videos(batch)
        for side, wanted in zip((captions, videos), rows, strict=True):
            keys, queries = side.first.key.shape[2], side.first.query.shape[2]
            assert keys > 1 and queries == (wanted or keys)


def test_score_is_a_probability_and_takes_caches(tiny_model, batch):
    direct = tiny_model.score(batch, batch).numpy()
    cached = tiny_model.score(
        tiny_model.encode_captions(batch), tiny_model.encode_videos(batch)
    ).numpy()
    np.testing.assert_array_equal(direct, cached)
    assert direct.shape == (3, 3) and (direct >= 0).all() and (direct <= 1).all()


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"hidden_size": 17}, "17 cannot be divided over 2"),
        ({"bi_hidden_size": 25}, "bi_hidden_size 25"),
        ({"hidden_act": "selu"}, 'unknown activation "selu"'),
        ({"fusion_method": "max"}, 'not "max"'),
        ({"tangle": "knot"}, 'not "knot"'),
        ({"t_ent_attention_id": [1]}, "equal lengths"),
        ({"t_ent_attention_id": [1, 9]}, "t_ent_attention_id \\[1, 9\\]"),
        ({"v_ent_attention_id": [1, 0]}, "v_ent_attention_id \\[1, 0\\]"),
        ({"fixed_t_layer": 2}, "fixed_t_layer=2"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, expected):
    with pytest.raises(ConfigError, match=expected):
        build(**changes)


def test_features_of_another_width_are_named(tiny_model, batch):
    batch["image_feat"] = batch["image_feat"][..., :8]
    with pytest.raises(DataError, match="image_feat has width 8.*v_feature_size=8"):
        tiny_model(batch)


def test_texts_longer_than_the_position_table_are_refused(tiny_model):
    with pytest.raises(DataError, match="max_position_embeddings=24"):
        tiny_model.encode_captions(
            {"text_ids": np.ones((1, 30), "int64"), "text_mask": np.ones((1, 30), "int64")}
        )


@st.composite
def configurations(draw):
    """Any small configuration that the constructor accepts."""
    depths = [draw(st.integers(0, 4)) for _ in range(3)]
    count = draw(st.integers(0, 3))
    places = [
        sorted(draw(st.lists(st.integers(0, d), min_size=count, max_size=count))) for d in depths
    ]
    fixed = [
        draw(st.integers(0, min([*p, d]))) for p, d in zip(places[:2], depths[:2], strict=True)
    ]
    return {
        "num_hidden_layers": depths[0],
        "v_num_hidden_layers": depths[1],
        "a_num_hidden_layers": depths[2],
        "t_ent_attention_id": places[0],
        "v_ent_attention_id": places[1],
        "a_ent_attention_id": places[2],
        "fixed_t_layer": fixed[0],
        "fixed_v_layer": fixed[1],
        "tangle": draw(st.sampled_from(["released", "paper"])),
        "fusion_method": draw(st.sampled_from(["mul", "sum"])),
        "v_hidden_act": draw(st.sampled_from(["gelu", "relu", "swish"])),
    }


@settings(max_examples=30, deadline=None, derandomize=True)
@given(configurations(), st.integers(0, 1000), st.integers(1, 7))
def test_scores_equal_the_plain_forward_for_every_configuration(changes, seed, pair_batch):
    model = build(seed, pair_batch=pair_batch, **changes)
    assert_scores_equal_plain_forward(model, make_batch(seed, 2), make_batch(seed + 1, 4))


def test_a_score_does_not_depend_on_what_is_beside_it(tiny_model):
    captions, videos = make_batch(1, clips=4), make_batch(2, clips=5)
    cache = tiny_model.encode_videos(videos)
    together = tiny_model.margins(tiny_model.encode_captions(captions), cache).numpy()
    tiny_model.scorer.pair_batch = 2
    chunked = tiny_model.margins(tiny_model.encode_captions(captions), cache).numpy()
    np.testing.assert_allclose(chunked, together, rtol=1e-5, atol=1e-6)
    joined = VideoCache.concatenate([cache.part(slice(0, 2)), cache.part(slice(2, 5))])
    again = tiny_model.margins(tiny_model.encode_captions(captions), joined).numpy()
    np.testing.assert_array_equal(again, chunked)
