"""Translates parameter names to and from those of PaddleVideo's published weights.

The mapping is one-to-one except for the word decoder: files contain it separately, the model ties
it to the word embedding. Files that this package writes use the published names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

RELEASED_WORD_EMBEDDING = "backbone.bert.embeddings.word_embeddings.weight"
RELEASED_DECODER = "backbone.cls.predictions.decoder_weight"

#: (ours, published): prefixes of names.
_ROOTS = [
    ("backbone.text_embeddings.word.", "backbone.bert.embeddings.word_embeddings."),
    ("backbone.text_embeddings.position.", "backbone.bert.embeddings.position_embeddings."),
    ("backbone.text_embeddings.token_type.", "backbone.bert.embeddings.token_type_embeddings."),
    ("backbone.text_embeddings.norm.", "backbone.bert.embeddings.LayerNorm."),
    ("backbone.region_embeddings.feature.", "backbone.bert.v_embeddings.image_embeddings."),
    ("backbone.region_embeddings.box.", "backbone.bert.v_embeddings.image_location_embeddings."),
    ("backbone.region_embeddings.norm.", "backbone.bert.v_embeddings.LayerNorm."),
    ("backbone.action_embeddings.feature.", "backbone.bert.a_embeddings.action_embeddings."),
    ("backbone.action_embeddings.norm.", "backbone.bert.a_embeddings.LayerNorm."),
    ("backbone.encoder.layers.text.", "backbone.bert.encoder.layer."),
    ("backbone.encoder.layers.regions.", "backbone.bert.encoder.v_layer."),
    ("backbone.encoder.layers.actions.", "backbone.bert.encoder.a_layer."),
    ("backbone.encoder.tangled.", "backbone.bert.encoder.c_layer."),
    ("backbone.text_pooler.", "backbone.bert.t_pooler."),
    ("backbone.region_pooler.", "backbone.bert.v_pooler."),
    ("backbone.action_pooler.", "backbone.bert.a_pooler."),
    ("backbone.word_head.decoder_bias", "backbone.cls.predictions.decoder_bias"),
    ("backbone.word_head.transform.norm.", "backbone.cls.predictions.transform.LayerNorm."),
    ("backbone.word_head.", "backbone.cls.predictions."),
    ("backbone.match_head.", "backbone.cls.seq_relationship."),
    ("backbone.region_head.transform.norm.", "backbone.cls.imagePredictions.transform.LayerNorm."),
    ("backbone.region_head.", "backbone.cls.imagePredictions."),
    ("backbone.action_head.transform.norm.", "backbone.cls.actionPredictions.transform.LayerNorm."),
    ("backbone.action_head.", "backbone.cls.actionPredictions."),
]

#: (ours, published): the part after the layer's index, in the order of matching.
_LAYER_PARTS = [
    ("attention_output.dense.", "attention.output.dense."),
    ("attention_output.norm.", "attention.output.LayerNorm."),
    ("attention.", "attention.self."),
    ("feed_forward.expand.", "intermediate.dense."),
    ("feed_forward.output.dense.", "output.dense."),
    ("feed_forward.output.norm.", "output.LayerNorm."),
]
_TANGLED_PARTS = [
    (f"projections.{stream}.{part}.", f"ent_attention.{part}{index}.")
    for stream, index in (("regions", 1), ("text", 2), ("actions", 3))
    for part in ("query", "key", "value")
]
_TANGLED_PARTS += [
    ("text_context_key.", "ent_attention.key_at."),
    ("text_context_value.", "ent_attention.value_at."),
    ("region_context_key.", "ent_attention.key_av."),
    ("region_context_value.", "ent_attention.value_av."),
]
for _stream, _index, _prefix in (("regions", 1, "v"), ("text", 2, "t"), ("actions", 3, "a")):
    _TANGLED_PARTS += [
        (f"outputs.{_stream}.attention_output.dense.", f"ent_output.dense{_index}."),
        (f"outputs.{_stream}.attention_output.norm.", f"ent_output.LayerNorm{_index}."),
        (f"outputs.{_stream}.feed_forward.expand.", f"{_prefix}_intermediate.dense."),
        (f"outputs.{_stream}.feed_forward.output.dense.", f"{_prefix}_output.dense."),
        (f"outputs.{_stream}.feed_forward.output.norm.", f"{_prefix}_output.LayerNorm."),
    ]


def released_name(name: str) -> str:
    """Returns the published name of one of our parameters; other names are unchanged."""
    return _translate(name, ours=0, theirs=1)


def our_name(name: str) -> str:
    """Returns our name for a published parameter; other names are unchanged."""
    return _translate(name, ours=1, theirs=0)


def _translate(name: str, ours: int, theirs: int) -> str:
    for root in _ROOTS:
        if not name.startswith(root[ours]):
            continue
        rest = name[len(root[ours]) :]
        indexed = re.match(r"\d+\.", rest)
        if not indexed:
            return root[theirs] + rest
        index, part = indexed.group(), rest[indexed.end() :]
        table = _TANGLED_PARTS if "tangled" in root[0] else _LAYER_PARTS
        for pair in table:
            if part.startswith(pair[ours]):
                return root[theirs] + index + pair[theirs] + part[len(pair[ours]) :]
    return name


def to_released(state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a state dict under published names, including the tied word decoder."""
    released = {released_name(name): value for name, value in state.items()}
    if RELEASED_WORD_EMBEDDING in released:
        released[RELEASED_DECODER] = released[RELEASED_WORD_EMBEDDING]
    return released


def from_released(state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a state dict under our names. Files with our names load too."""
    return {our_name(name): value for name, value in state.items() if name != RELEASED_DECODER}
