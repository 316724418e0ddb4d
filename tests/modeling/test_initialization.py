"""The standard deviations of initial weights, and the first gradients."""

import numpy as np
import paddle
import pytest

import paddlevideo as pv
from tests.modeling.tiny import SIZES, make_batch

MATCH = ("encoder.tangled", "pooler", "match_head")
WIDER = {f"{s}_size": 128 for s in ("hidden", "v_hidden", "a_hidden", "bi_hidden")}
HEADS = ("word_head", "region_head", "action_head")


def fresh(**changes):
    """A new backbone, and its parameters by name."""
    paddle.seed(0)
    backbone = {"name": "BertForMultiModalPreTraining", **SIZES, **changes}
    model = pv.build_model({"framework": "ActBert", "backbone": backbone})
    return model, dict(model.backbone.named_parameters())


@pytest.mark.parametrize("width", [96, 768])
def test_only_small_models_match_with_larger_weights(width):
    """The published sizes start as BERT does."""
    _, parameters = fresh(bi_hidden_size=width)
    match = {n: p for n, p in parameters.items() if any(part in n for part in MATCH)}
    projections = {n: p for n, p in match.items() if ".query.weight" in n or "context_key.w" in n}
    for p in projections.values():
        expected = 0.02 if width == 768 else p.shape[0] ** -0.5
        assert abs(float(p.numpy().std()) / expected - 1) < 0.2
    for name, p in parameters.items():
        if p.ndim == 2 and p.size >= 300 and name not in match:
            assert abs(float(p.numpy().std()) / 0.02 - 1) < 0.2, name


@pytest.mark.parametrize(
    ("option", "parts"),
    [
        ("initializer_range", ("encoder.layers",)),
        ("embedding_initializer_range", ("region_embeddings", "action_embeddings")),
        ("match_initializer_range", MATCH),
        ("head_initializer_range", HEADS),
    ],
)
def test_each_part_has_its_own_option(option, parts):
    base = {"match_initializer_range": 0.02}
    _, before = fresh(**base)
    _, after = fresh(**{**base, option: "fan_in"})
    for name, p in after.items():
        in_part = any(part in name for part in parts)
        if in_part and p.ndim == 2 and p.size >= 300:
            assert abs(float(p.numpy().std()) * p.shape[0] ** 0.5 - 1) < 0.2, name
        elif not in_part and "text_embeddings" not in name:
            np.testing.assert_array_equal(p.numpy(), before[name].numpy(), err_msg=name)


@pytest.mark.parametrize("start", [0.02, "fan_in"])
@pytest.mark.parametrize("tangle", ["released", "paper"])
def test_padded_actions_do_not_inflate_the_first_gradient(tangle, start):
    """An embedding without variance would multiply its gradient by a million."""
    batch = make_batch(clips=16, actions=5)
    norms = []
    for padded in (False, True):
        if padded:
            used = np.arange(5) < np.random.default_rng(1).integers(1, 5, (16, 1))
            batch["action_mask"] = used.astype("int64")
            batch["action_feat"] = batch["action_feat"] * used[..., None]
            batch["action_label"] = np.where(used, batch["action_label"], -1)
        model, _ = fresh(tangle=tangle, match_initializer_range=start, **WIDER)
        model(batch)["loss"].backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        norms.append(float(sum((g**2).sum() for g in gradients)) ** 0.5)
    assert norms[1] < 1.5 * norms[0]
