"""Small models and batches that the modeling tests share."""

import numpy as np
import paddle

import paddlevideo as pv

SIZES = {
    "vocab_size": 60,
    "max_position_embeddings": 24,
    "v_target_size": 9,
    "a_target_size": 7,
    "v_feature_size": 12,
    "a_feature_size": 10,
    "num_hidden_layers": 3,
    "v_num_hidden_layers": 2,
    "a_num_hidden_layers": 2,
    "t_ent_attention_id": [1, 2],
    "v_ent_attention_id": [0, 1],
    "a_ent_attention_id": [0, 1],
    "hidden_size": 16,
    "v_hidden_size": 24,
    "a_hidden_size": 16,
    "bi_hidden_size": 24,
    "intermediate_size": 32,
    "v_intermediate_size": 24,
    "a_intermediate_size": 32,
    "num_attention_heads": 2,
    "v_num_attention_heads": 2,
    "a_num_attention_heads": 2,
    "bi_num_attention_heads": 2,
}


def build(seed=0, loss=None, pair_batch=64, match_negatives=0, **changes):
    """A tiny ActBert in evaluation mode whose weights are large enough for scores to spread."""
    paddle.seed(seed)
    backbone = {"name": "BertForMultiModalPreTraining", **SIZES, **changes}
    model = pv.build_model(
        {
            "framework": "ActBert",
            "backbone": backbone,
            "loss": {"name": "ActBertLoss", **(loss or {})},
            "pair_batch": pair_batch,
            "match_negatives": match_negatives,
        }
    )
    rng = np.random.default_rng(seed)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            noise = rng.normal(0, 0.25, parameter.shape).astype("float32")
            parameter.set_value(paddle.to_tensor(noise))
    model.eval()
    return model


def make_batch(seed=0, clips=3, words=12, regions=6, actions=3):
    """A pre-training batch with padding in words and regions."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, words - 2, clips)
    counts = rng.integers(2, regions - 1, clips)  # the global region included
    text_mask = (np.arange(words) < lengths[:, None]).astype("int64")
    image_mask = (np.arange(regions + 1) < counts[:, None] + 1).astype("int64")
    target = rng.dirichlet(np.ones(9), (clips, regions)).astype("float32")
    target *= image_mask[:, 1:, None]
    word_asked = (rng.random((clips, words)) < 0.3) & (text_mask == 1)
    region_asked = (rng.random((clips, regions)) < 0.3) & (image_mask[:, 1:] == 1)
    action_asked = rng.random((clips, actions)) < 0.4
    ids = rng.integers(1, 60, (clips, words)) * text_mask
    return {
        "text_ids": ids,
        "token_type_ids": np.zeros_like(ids),
        "text_mask": text_mask,
        "text_labels": np.where(word_asked, ids, -1),
        "image_feat": rng.normal(size=(clips, regions + 1, 12)).astype("float32"),
        "image_loc": rng.random((clips, regions + 1, 5)).astype("float32"),
        "image_mask": image_mask,
        "image_label": np.where(region_asked, 1, -1),
        "image_target": target,
        "action_feat": rng.normal(size=(clips, actions, 10)).astype("float32"),
        "action_mask": np.ones((clips, actions), "int64"),
        "action_label": np.where(action_asked, rng.integers(0, 7, (clips, actions)), -1),
        "next_sentence_label": rng.integers(0, 2, clips),
        "index": np.arange(clips),
    }
