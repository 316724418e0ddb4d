"""Files that are given as weights: what they are, which layout they have, what is wrong in them."""

import json
import logging
import re
import struct
import subprocess
import sys

import numpy as np
import paddle
import pytest

import paddlevideo as pv
from paddlevideo.modeling.weight_layout import dense_layers
from paddlevideo.utils.errors import UserError, WeightsError
from tests.modeling.test_weights import (
    bert_of,
    check_text_stream,
    hugging_face,
    paddlenlp_names,
    save,
    write_safetensors,
)
from tests.modeling.tiny import build
from tests.pytorch_samples import WRITERS, state_dict, tensor, write_sequence, write_zip


@pytest.fixture
def told(caplog, monkeypatch):
    """What the log says."""
    monkeypatch.setattr(logging.getLogger("paddlevideo"), "propagate", True)
    caplog.set_level(logging.INFO, "paddlevideo")
    return caplog


def released(model):
    return {n: t.numpy() for n, t in model.to_released(model.state_dict()).items()}


def check_equal(model, source):
    for name, value in source.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name].numpy(), value.numpy(), name)


def in_pytorch_layout(model):
    """All of a model's weights as a port to PyTorch would store them."""
    dense = {f"{name}.weight" for name in dense_layers(model)}
    turned = {n: t.numpy().T if n in dense else t.numpy() for n, t in model.state_dict().items()}
    return {n: np.ascontiguousarray(a) for n, a in model.to_released(turned).items()}


def as_float16(array):
    return array.astype(np.float16)


def as_bfloat16(array):
    return (np.ascontiguousarray(array).view(np.uint32) >> 16).astype(np.uint16)


# ----------------------------------------------------------------------------- not finite


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("suffix", [".pdparams", ".safetensors"])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, value, suffix):
    target, state = build(2), released(build(1))
    name = "backbone.bert.encoder.layer.0.attention.self.query.weight"
    state[name] = state[name].copy()
    state[name][1, 2] = value
    path = tmp_path / f"w{suffix}"
    (save if suffix == ".pdparams" else write_safetensors)(path, state)
    before = {name: tensor.numpy() for name, tensor in target.state_dict().items()}
    with pytest.raises(WeightsError, match=rf"w{suffix}: {name} holds (NaN|inf).*at \[1, 2\]"):
        pv.load_weights(target, path)
    for key, array in before.items():
        np.testing.assert_array_equal(target.state_dict()[key].numpy(), array)


def test_numbers_too_large_for_float32_are_not_finite_either(tmp_path):
    name = "backbone.match_head.bias"
    path = write_safetensors(tmp_path / "w.safetensors", {name: np.array([1e300, 0])})
    with pytest.raises(WeightsError, match=f"{name} holds infinity"):
        pv.load_weights(build(), path)


def test_a_weight_of_similarity_that_waits_to_be_chosen_may_be_nan(tmp_path):
    config = {"framework": "ActBert", "backbone": {"name": "BertForMultiModalPreTraining"}}
    from tests.modeling.tiny import SIZES

    config["backbone"] |= SIZES
    config["retrieval_head"] = {"name": "RetrievalHead", "width": 8, "similarity_weight": "auto"}
    model = pv.build_model(config)
    pv.load_weights(model, save(tmp_path / "w.pdparams", model.state_dict()), for_test=True)
    state = {n: t.numpy() for n, t in model.state_dict().items()}
    state["retrieval_head.log_scale"] = np.full([], np.nan, np.float32)
    with pytest.raises(WeightsError, match="log_scale holds NaN"):
        pv.load_weights(model, save(tmp_path / "w.pdparams", state))


# --------------------------------------------------------------------------------- layout


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"format": "paddle"}])
def test_an_actbert_in_pytorchs_layout_is_turned_as_a_whole(tmp_path, metadata, told):
    source, target = build(1), build(2)
    path = write_safetensors(tmp_path / "w.safetensors", in_pytorch_layout(source), metadata)
    pv.load_weights(target, path, for_test=True)
    check_equal(target, source)
    assert "as PyTorch stores them: all are transposed" in told.text


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"format": "paddle"}])
@pytest.mark.parametrize("names", [paddlenlp_names, dict])
def test_shapes_tell_paddles_layout_whatever_the_metadata(tmp_path, metadata, names):
    source, target = build(1), build(2)
    path = write_safetensors(tmp_path / "w.safetensors", names(bert_of(source)), metadata)
    pv.load_weights(target, path)
    check_text_stream(target, source)


@pytest.mark.parametrize("of", [in_pytorch_layout, lambda model: hugging_face(bert_of(model))])
def test_a_pdparams_in_pytorchs_layout_is_refused_with_the_command_that_helps(tmp_path, of):
    source, target = build(1), build(2)
    path = save(tmp_path / "hf.pdparams", of(source))
    with pytest.raises(WeightsError, match="as PyTorch stores them") as caught:
        pv.load_weights(target, path)
    code = re.search('python -c "(.*)"', str(caught.value)).group(1)
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    pv.load_weights(target, tmp_path / "hf.safetensors")
    check_text_stream(target, source)


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("wrap", [dict, lambda state: {"state_dict": state, "epoch": 1}])
def test_a_bert_as_pytorch_saves_it(tmp_path, write, wrap, told):
    source, target = build(1), build(2)
    arrays = hugging_face(bert_of(source))
    path = write(tmp_path / "pytorch_model.bin", wrap(state_dict(arrays)))
    report = pv.load_weights(target, path)
    check_text_stream(target, source)
    assert "as PyTorch stores them: all are transposed" in told.text
    same = pv.load_weights(build(3), write_safetensors(tmp_path / "m.safetensors", arrays))
    assert sorted(report.loaded) == sorted(same.loaded) and report.loaded


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_an_actbert_as_pytorch_saves_it(tmp_path, write):
    """Half precision too, and the layout by shapes: a port may keep Paddle's."""
    source, target = build(1), build(2)
    path = write(tmp_path / "w.pt", state_dict(in_pytorch_layout(source)))
    pv.load_weights(target, path, for_test=True)
    check_equal(target, source)
    path = write(tmp_path / "paddle.pt", state_dict(released(source)))
    pv.load_weights(target, path, for_test=True)
    check_equal(target, source)
    for kind, cut in (("HalfStorage", as_float16), ("BFloat16Storage", as_bfloat16)):
        halves = {n: tensor(cut(a), kind) for n, a in in_pytorch_layout(source).items()}
        pv.load_weights(target, write(tmp_path / "half.pt", halves), for_test=True)
        for name, value in source.state_dict().items():
            given = target.state_dict()[name].numpy()
            np.testing.assert_allclose(given, value.numpy(), rtol=1e-2, atol=1e-4)


def test_a_file_that_is_half_turned_is_refused(tmp_path):
    state = released(build(1))
    name = "backbone.bert.encoder.layer.1.intermediate.dense.weight"
    state[name] = np.ascontiguousarray(state[name].T)
    for path in (
        save(tmp_path / "w.pdparams", state),
        write_safetensors(tmp_path / "w.safetensors", state),
    ):
        with pytest.raises(WeightsError, match="Convert all of them or none"):
            pv.load_weights(build(2), path)


SQUARE = {"intermediate_size": 16, "hidden_size": 16}


@pytest.mark.parametrize("metadata, turned", [("pt", True), ("paddle", False), ("np", False)])
def test_where_all_weights_are_square_the_metadata_decide(tmp_path, metadata, turned):
    source, target = build(1, **SQUARE), build(2, **SQUARE)
    state = bert_of(source)
    path = write_safetensors(
        tmp_path / "w.safetensors",
        hugging_face(state) if turned else state,
        {"format": metadata},
    )
    pv.load_weights(target, path)
    check_text_stream(target, source)


@pytest.mark.parametrize(
    "suffix, names, extra, warned",
    [
        (".safetensors", paddlenlp_names, False, False),
        (".safetensors", hugging_face, True, False),
        (".safetensors", hugging_face, False, True),
        (".pdparams", dict, False, False),
        (".pdparams", dict, True, True),
    ],
)
def test_else_names_and_kind_of_file_decide(tmp_path, told, suffix, names, extra, warned):
    source, target = build(1, **SQUARE), build(2, **SQUARE)
    state = names(bert_of(source))
    if extra:  # Hugging Face's files alone have it
        state["embeddings.position_ids"] = np.arange(24)
    path = tmp_path / f"w{suffix}"
    (save if suffix == ".pdparams" else write_safetensors)(path, state)
    pv.load_weights(target, path)
    check_text_stream(target, source)
    assert ("all dense weights are square" in told.text) == warned


def test_bfloat16_and_float16_safetensors_load(tmp_path):
    source, target = build(1), build(2)
    state = {n: a for n, a in hugging_face(bert_of(source)).items() if "query.weight" in n}
    for kind in ("BF16", "F16"):
        path = tmp_path / f"{kind}.safetensors"
        header, blob = {"__metadata__": {"format": "pt"}}, b""
        for name, array in state.items():
            half = (array.view(np.uint32) >> 16).astype("u2") if kind == "BF16" else array
            data = half.astype("f2" if kind == "F16" else "u2").tobytes()
            places = [len(blob), len(blob) + len(data)]
            header[f"encoder.{name}"] = {
                "dtype": kind,
                "shape": array.shape,
                "data_offsets": places,
            }
            blob += data
        words = {"dtype": kind, "shape": [0], "data_offsets": [len(blob), len(blob)]}
        header["encoder.embeddings.word_embeddings.weight"] = words
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + blob)
        pv.load_weights(target, path)
        name = "backbone.encoder.layers.text.2.attention.query.weight"
        np.testing.assert_allclose(
            target.state_dict()[name].numpy(), source.state_dict()[name].numpy(), rtol=1e-2
        )


# ------------------------------------------------------------------------ names and wraps


@pytest.mark.parametrize("prefix", ["module.", "_layers.", "model.", "module._layers.", "-"])
def test_prefixes_around_a_model_are_left_out(tmp_path, prefix, told):
    source, target = build(1), build(2)
    state = released(source)
    if prefix == "-":
        state = {name.removeprefix("backbone."): array for name, array in state.items()}
    else:
        state = {prefix + name: array for name, array in state.items()}
    pv.load_weights(target, save(tmp_path / "w.pdparams", state), for_test=True)
    check_equal(target, source)
    assert "prefix" in told.text


@pytest.mark.parametrize(
    "prefix", ["bert.", "roberta.", "model.", "module.bert.", "backbone.", "backbone.bert.", "x.y."]
)
def test_any_prefix_before_a_berts_names_is_left_out(tmp_path, prefix):
    source, target = build(1), build(2)
    state = {prefix + name: array for name, array in hugging_face(bert_of(source)).items()}
    pv.load_weights(target, write_safetensors(tmp_path / "w.safetensors", state))
    check_text_stream(target, source)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 1},
        lambda state: {"model": state, "optimizer": {"a": paddle.zeros([1])}, "scaler": {}},
        lambda state: {"weights": {"model": state}},
        lambda state: {"student": state},
    ],
)
def test_a_wrapped_state_dict_is_unwrapped(tmp_path, wrap, told):
    source, target = build(1), build(2)
    state = source.to_released(source.state_dict())
    pv.load_weights(target, save(tmp_path / "w.pdparams", wrap(state)), for_test=True)
    check_equal(target, source)
    assert "under the key" in told.text


def test_names_are_listed_where_none_fits(tmp_path):
    path = save(tmp_path / "w.pdparams", {"conv.weight": paddle.zeros([3])})
    with pytest.raises(WeightsError, match="contains: conv.weight\n  expected: backbone.bert.emb"):
        pv.load_weights(build(), path)


# ------------------------------------------------------------------- what the file is


def npz_archive(path):
    with open(path, "wb") as file:
        np.savez(file, a=np.zeros(3))


NOT_WEIGHTS = {
    "HTML page": lambda path: path.write_text("<!DOCTYPE html><html>404</html>"),
    "git lfs pull": lambda path: path.write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 1\n"
    ),
    r"torch\.save\(model\.state_dict": lambda path: write_zip(path, {"made by": str}),
    "contains a list": lambda path: write_sequence(path, [1, 2]),
    r"\.npz.*paddle.save": npz_archive,
    "an empty file": lambda path: path.touch(),
    "gzip": lambda path: path.write_bytes(b"\x1f\x8b\x08"),
    "JSON": lambda path: path.write_text("{}"),
    "is cut short": lambda path: path.write_bytes(b"\x80\x02}q\x00X"),
    "optimizer.*pdopt": lambda path: save(path, {"w_0_moment1_0": paddle.zeros([2])}),
    "an optimizer's state": lambda path: save(path, {"optimizer": {}, "average": {}}),
    "no named arrays": lambda path: save(path, {"a": 1, "b": "c"}),
}


@pytest.mark.parametrize("expected", NOT_WEIGHTS)
def test_a_file_that_is_no_weights_is_called_what_it_is(tmp_path, expected):
    path = tmp_path / "w.pdparams"
    NOT_WEIGHTS[expected](path)
    with pytest.raises(UserError, match=expected) as caught:
        pv.load_weights(build(), path)
    assert str(path) in str(caught.value)


def test_types_that_are_no_floating_point_numbers(tmp_path):
    name = "backbone.match_head.bias"
    path = write_safetensors(tmp_path / "w.safetensors", {name: np.zeros(2, np.int8)})
    with pytest.raises(WeightsError, match="int8 instead of floating-point numbers"):
        pv.load_weights(build(), path)
    entry = {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}
    text = json.dumps({name: entry}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"12")
    with pytest.raises(WeightsError, match="F8_E4M3: save the weights as float32"):
        pv.load_weights(build(), path)


def test_a_truncated_safetensors_file(tmp_path):
    path = write_safetensors(tmp_path / "w.safetensors", released(build()))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsError, match="is truncated or corrupt"):
        pv.load_weights(build(), path)


def test_the_ending_does_not_decide(tmp_path):
    path = write_safetensors(tmp_path / "w.pdparams", released(build(1)))
    assert pv.load_weights(build(2), path, for_test=True).loaded


def test_where_weights_are_looked_for(tmp_path, told):
    model = build()
    path = save(tmp_path / "a.v2.pdparams", model.state_dict())
    assert pv.load_weights(model, tmp_path / "a.v2").path == str(path)
    assert f"reading {path}" in told.text
    assert pv.load_weights(model, tmp_path).path == str(path)
    other = save(tmp_path / "b.pdparams", model.state_dict())
    with pytest.raises(WeightsError, match=r"2 weight files.*a\.v2\.pdparams, b\.pdparams"):
        pv.load_weights(model, tmp_path)
    best = other.rename(tmp_path / "b_best.pdparams")
    assert pv.load_weights(model, tmp_path).path == str(best)
    with pytest.raises(WeightsError, match="no such weight file.*Did you mean"):
        pv.load_weights(model, tmp_path / "a.v3.pdparams")
    for url in ("https://host/a.pdparams", "https:/host/a.pdparams", "s3://bucket/a"):
        with pytest.raises(WeightsError, match="is a URL"):
            pv.load_weights(model, url)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "pytorch_model.bin").touch()
    with pytest.raises(WeightsError, match=r"a folder without a .*pytorch_model\.bin"):
        pv.load_weights(model, tmp_path / "empty")
    (tmp_path / "b_best.json").touch()
    with pytest.raises(WeightsError, match=r'Did you mean "b_best\.pdparams"'):
        pv.load_weights(model, tmp_path / "b_bets.json")


def test_weights_in_several_files_are_named(tmp_path):
    for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
        (tmp_path / name).touch()
    index = tmp_path / "model.safetensors.index.json"
    index.write_text("{}")
    for path in (tmp_path, index):
        with pytest.raises(WeightsError, match="split over several files. Join them"):
            pv.load_weights(build(), path)


def test_a_tensorflow_checkpoint_is_named(tmp_path):
    (tmp_path / "bert_model.ckpt.index").touch()
    (tmp_path / "bert_model.ckpt.data-00000-of-00001").touch()
    for path in (tmp_path, tmp_path / "bert_model.ckpt"):
        with pytest.raises(WeightsError, match="TensorFlow checkpoint"):
            pv.load_weights(build(), path)
