"""Weight files: every source, and what does not fit."""

import numpy as np
import paddle
import pytest

import paddlevideo as pv
from paddlevideo.modeling.bert_weights import from_bert
from paddlevideo.utils.errors import WeightsError
from tests.modeling.tiny import SIZES, build


def save(path, state):
    paddle.save(state, str(path))
    return path


def test_round_trip_through_published_names(tmp_path):
    source, target = build(1), build(2)
    path = save(tmp_path / "w.pdparams", source.to_released(source.state_dict()))
    report = pv.load_weights(target, path, for_test=True)
    assert not (report.missing or report.unexpected or report.misshapen)
    for name, tensor in source.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), target.state_dict()[name].numpy())


def test_our_own_names_load_too(tmp_path):
    source, target = build(1), build(2)
    report = pv.load_weights(target, save(tmp_path / "w.pdparams", source.state_dict()))
    assert len(report.loaded) == len(source.state_dict())


def test_weights_of_another_size_fail_the_test_and_are_named(tmp_path):
    path = save(tmp_path / "w.pdparams", build(1, bi_hidden_size=32).state_dict())
    with pytest.raises(WeightsError, match=r"query.weight \[16, 32\] instead of \[16, 24\]"):
        pv.load_weights(build(2), path, for_test=True)


def test_heads_are_not_needed_for_a_test_but_the_encoder_is(tmp_path):
    source = build(1)
    state = source.to_released(source.state_dict())
    without_heads = {
        name: tensor
        for name, tensor in state.items()
        if "cls.predictions" not in name and "Predictions" not in name
    }
    report = pv.load_weights(
        build(2), save(tmp_path / "headless.pdparams", without_heads), for_test=True
    )
    assert report.missing
    del without_heads["backbone.bert.v_pooler.dense.weight"]
    path = save(tmp_path / "broken.pdparams", without_heads)
    with pytest.raises(WeightsError, match="region_pooler.dense.weight"):
        pv.load_weights(build(2), path, for_test=True)
    assert pv.load_weights(build(2), path).missing  # training may start from it


def test_a_file_of_something_else_is_refused(tmp_path):
    path = save(tmp_path / "w.pdparams", {"conv.weight": paddle.zeros([3])})
    with pytest.raises(WeightsError, match="no parameter of this model"):
        pv.load_weights(build(2), path)
    with pytest.raises(WeightsError, match="no such weight file"):
        pv.load_weights(build(2), tmp_path / "absent.pdparams")
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(WeightsError, match="safetensors"):
        pv.load_weights(build(2), tmp_path / "bad.safetensors")


def test_half_precision_files_become_float32(tmp_path):
    source = build(1)
    name = "backbone.match_head.weight"
    exact = source.state_dict()[name].numpy()
    as_bfloat16 = (exact.view(np.uint32) >> 16).astype(np.uint16)
    path = save(tmp_path / "w.pdparams", {name: paddle.to_tensor(exact.astype("float16"))})
    target = build(2)
    pv.load_weights(target, path)
    np.testing.assert_allclose(target.state_dict()[name].numpy(), exact, rtol=1e-3)
    from paddlevideo.modeling.weights import assign

    assign(target, {name: as_bfloat16}, "bfloat16")
    np.testing.assert_allclose(target.state_dict()[name].numpy(), exact, rtol=1e-2)


def bert_of(model):
    """The text stream's weights under the published names without their prefix."""
    prefix = "backbone."
    return {
        name[len(prefix) :]: tensor.numpy()
        for name, tensor in model.to_released(model.state_dict()).items()
        if name.startswith(("backbone.bert.embeddings", "backbone.bert.encoder.layer."))
    }


NLP_NAMES = [
    ("encoder.layer.", "encoder.layers."),
    ("attention.self.query", "self_attn.q_proj"),
    ("attention.self.key", "self_attn.k_proj"),
    ("attention.self.value", "self_attn.v_proj"),
    ("attention.output.dense", "self_attn.out_proj"),
    ("attention.output.LayerNorm", "norm1"),
    ("intermediate.dense", "linear1"),
    ("output.dense", "linear2"),
    ("output.LayerNorm", "norm2"),
    ("embeddings.LayerNorm", "embeddings.layer_norm"),
]


def paddlenlp_names(state):
    renamed = {}
    for name, array in state.items():
        for ours, theirs in NLP_NAMES:
            name = name.replace(ours, theirs)
        renamed[name] = array
    return renamed


def hugging_face(state):
    linear = ("query.weight", "key.weight", "value.weight", "dense.weight")
    return {
        name.removeprefix("bert."): np.ascontiguousarray(a.T) if name.endswith(linear) else a
        for name, a in state.items()
    }


def write_safetensors(path, state, metadata=None):
    from safetensors.numpy import save_file

    save_file(state, path, metadata)
    return path


def check_text_stream(model, source):
    """Whether the text stream of ``model`` is that of ``source``."""
    for name in ("attention.query", "attention_output.dense", "feed_forward.expand"):
        name = f"backbone.encoder.layers.text.2.{name}.weight"
        wanted = source.state_dict()[name].numpy()
        np.testing.assert_array_equal(model.state_dict()[name].numpy(), wanted, name)


@pytest.mark.parametrize(
    "rename", [dict, paddlenlp_names, hugging_face], ids=["bare", "paddlenlp", "hugging face"]
)
def test_text_weights_come_from_any_bert(rename, tmp_path):
    source, target = build(1), build(2)
    state = rename(bert_of(source))
    assert set(from_bert(state)) == {"backbone." + name for name in bert_of(source)}
    report = pv.load_weights(target, write_safetensors(tmp_path / "bert.safetensors", state))
    assert not report.unexpected and not report.misshapen
    check_text_stream(target, source)


def test_pretrained_starts_the_text_stream(tmp_path):
    source = build(1)
    path = tmp_path / "model.safetensors"
    from safetensors.numpy import save_file

    save_file(hugging_face(bert_of(source)), path)
    target = pv.build_model(
        {
            "framework": "ActBert",
            "backbone": {**_backbone(), "pretrained": str(path)},
        }
    )
    name = "backbone.encoder.layers.text.2.attention.query.weight"
    np.testing.assert_array_equal(
        target.state_dict()[name].numpy(), source.state_dict()[name].numpy()
    )


def _backbone():
    from tests.modeling.tiny import SIZES

    return {"name": "BertForMultiModalPreTraining", **SIZES}


def test_a_blank_model_becomes_what_its_weights_are(tmp_path):
    config = {
        "framework": "ActBert",
        "backbone": {"name": "BertForMultiModalPreTraining", **SIZES, "pretrained": "nowhere"},
    }
    model, blank = build(), pv.build_model(config, blank=True)
    matrices = [tensor for tensor in blank.parameters() if tensor.ndim == 2]
    assert not any(tensor.numpy().any() for tensor in matrices)
    path = tmp_path / "w.pdparams"
    paddle.save(model.to_released(model.state_dict()), str(path))
    pv.load_weights(blank, path, for_test=True)
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), blank.state_dict()[name].numpy(), name)
    assert build(seed=1).backbone.match_head.weight.numpy().any(), "others are drawn as before"
