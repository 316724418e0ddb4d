"""Text weights of any BERT: Hugging Face's, PaddleNLP's or PaddleVideo's bare file."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

#: Patterns of other libraries' names (without a leading "bert.") and the published name.
_RENAMED = [
    # PaddleNLP
    (r"encoder\.layers\.(\d+)\.self_attn\.q_proj\.", r"encoder.layer.\1.attention.self.query."),
    (r"encoder\.layers\.(\d+)\.self_attn\.k_proj\.", r"encoder.layer.\1.attention.self.key."),
    (r"encoder\.layers\.(\d+)\.self_attn\.v_proj\.", r"encoder.layer.\1.attention.self.value."),
    (r"encoder\.layers\.(\d+)\.self_attn\.out_proj\.", r"encoder.layer.\1.attention.output.dense."),
    (r"encoder\.layers\.(\d+)\.norm1\.", r"encoder.layer.\1.attention.output.LayerNorm."),
    (r"encoder\.layers\.(\d+)\.linear1\.", r"encoder.layer.\1.intermediate.dense."),
    (r"encoder\.layers\.(\d+)\.linear2\.", r"encoder.layer.\1.output.dense."),
    (r"encoder\.layers\.(\d+)\.norm2\.", r"encoder.layer.\1.output.LayerNorm."),
    (r"embeddings\.layer_norm\.", "embeddings.LayerNorm."),
    (r"cls\.predictions\.transform\.(weight|bias)$", r"cls.predictions.transform.dense.\1"),
    (r"cls\.predictions\.layer_norm\.", "cls.predictions.transform.LayerNorm."),
    # Hugging Face
    (r"cls\.predictions\.bias$", "cls.predictions.decoder_bias"),
    # the original TensorFlow names, still found in converted files
    (r"LayerNorm\.gamma$", "LayerNorm.weight"),
    (r"LayerNorm\.beta$", "LayerNorm.bias"),
]
#: Parts of a BERT that ActBERT has no place for, or holds tied.
_NOT_USED = re.compile(
    r"^(pooler\.|embeddings\.position_ids$|cls\.seq_relationship\.|cls\.predictions\.decoder)"
    r"(?!_bias)"
)
_LINEAR_WEIGHT = re.compile(r"(query|key|value|dense)\.weight$")


def is_bert(state: Mapping[str, object]) -> bool:
    """Whether these are a BERT's weights rather than ActBERT's."""
    return any(name.endswith("embeddings.word_embeddings.weight") for name in state) and not any(
        name.startswith("backbone.") or "v_embeddings" in name for name in state
    )


def from_bert(state: Mapping[str, np.ndarray], transposed: bool) -> dict[str, np.ndarray]:
    """A BERT's weights under ActBERT's published names.

    ``transposed``: dense weights are stored (outputs, inputs), as PyTorch does.
    """
    released = {}
    for name, array in state.items():
        bare = name.removeprefix("backbone.").removeprefix("bert.")
        for pattern, replacement in _RENAMED:
            bare = re.sub(pattern, replacement, bare)
        if _NOT_USED.match(bare):
            continue
        root = "backbone." if bare.startswith("cls.") else "backbone.bert."
        turn = transposed and _LINEAR_WEIGHT.search(bare)
        released[root + bare] = np.ascontiguousarray(array.T) if turn else array
    return released
