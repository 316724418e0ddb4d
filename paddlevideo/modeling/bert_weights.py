"""Names of BERT weights in the files of Hugging Face, PaddleNLP or PaddleVideo."""

from __future__ import annotations

import re
from collections.abc import Iterable

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
    # the original TensorFlow names, which some converted files have
    (r"LayerNorm\.gamma$", "LayerNorm.weight"),
    (r"LayerNorm\.beta$", "LayerNorm.bias"),
]
#: Weights of BERT that ActBERT does not have or ties to others.
_NOT_USED = re.compile(
    r"^(pooler\.|embeddings\.position_ids$|cls\.seq_relationship\.|cls\.predictions\.decoder)"
    r"(?!_bias)"
)
_WORDS = "embeddings.word_embeddings.weight"
#: Parts of names that occur only in ActBERT's files.
_ACTBERT_ALONE = ("v_embeddings.", "a_embeddings.", ".v_layer.", ".a_layer.", ".c_layer.")
_PADDLENLP = re.compile(r"encoder\.layers\.\d+\.(self_attn|linear1|linear2)\.")
#: Names that occur only in Hugging Face's files.
_HUGGING_FACE = re.compile(
    r"embeddings\.position_ids$|LayerNorm\.(gamma|beta)$|cls\.predictions\.(bias|decoder\.weight)$"
)


def is_bert(names: Iterable[str]) -> bool:
    """Returns whether these are names of a BERT's weights rather than of ActBERT's."""
    names = list(names)
    return any(name.endswith(_WORDS) for name in names) and not any(
        part in name for name in names for part in _ACTBERT_ALONE
    )


def are_paddlenlp(names: Iterable[str]) -> bool:
    """Returns whether these are PaddleNLP's names."""
    return any(_PADDLENLP.search(name) for name in names)


def are_hugging_face(names: Iterable[str]) -> bool:
    """Returns whether some of these names are used only by Hugging Face."""
    return any(_HUGGING_FACE.search(name) for name in names)


def from_bert(names: Iterable[str]) -> dict[str, str]:
    """Maps ActBERT's published names to a BERT's names.

    The prefix of the word embedding ("bert.", "module.roberta.") is removed from all names.
    """
    names = list(names)
    before = min((name[: -len(_WORDS)] for name in names if name.endswith(_WORDS)), key=len)
    outer = before[: before[:-1].rfind(".") + 1]
    released = {}
    for name in names:
        bare = name.removeprefix(before) if name.startswith(before) else name.removeprefix(outer)
        for pattern, replacement in _RENAMED:
            bare = re.sub(pattern, replacement, bare)
        if not _NOT_USED.match(bare):
            root = "backbone." if bare.startswith("cls.") else "backbone.bert."
            released[root + bare] = name
    return released
