"""Rules on the names of parameters: what is trained, and how fast."""

import paddle
import pytest

from paddlevideo.solver import build_optimizer
from paddlevideo.solver.groups import layer_factors
from paddlevideo.utils.errors import ConfigError

NAMES = [
    "backbone.text_embeddings.word.weight",
    "backbone.encoder.layers.text.0.norm.weight",
    "backbone.encoder.layers.text.1.norm.weight",
    "backbone.encoder.layers.text.10.norm.weight",
    "backbone.encoder.layers.regions.0.norm.weight",
    "backbone.region_embeddings.feature.weight",
    "backbone.action_embeddings.feature.weight",
    "backbone.encoder.tangled.0.projections.text.key.weight",
    "backbone.match_head.weight",
]


def parameters():
    return [(name, paddle.nn.Linear(2, 2).weight) for name in NAMES]


def test_deeper_layers_learn_more_slowly():
    factors = [round(factor, 6) for factor in layer_factors(NAMES, 0.5).values()]
    powers = [12, 11, 10, 1, 1, 2, 1, 0, 0]
    assert factors == [round(0.5**power, 6) for power in powers]
    named = parameters()
    rules = [{"match": "match_head", "scale": 3}, {"match": "regions", "scale": 2}]
    build_optimizer({"name": "AdamW", "learning_rate": 0.1, "layer_decay": 0.5, "lr_scale": rules},
                    0.1, named)  # fmt: skip
    rates = {name: parameter.optimize_attr["learning_rate"] for name, parameter in named}
    assert rates["backbone.match_head.weight"] == 3
    assert rates["backbone.encoder.layers.regions.0.norm.weight"] == 1
    assert rates["backbone.encoder.layers.text.10.norm.weight"] == 0.5


def test_what_is_frozen_is_not_trained():
    named = parameters()
    recipe = {"name": "SGD", "learning_rate": 0.1, "freeze": ["text_embeddings", r"text\.[0-1]\."]}
    optimizer = build_optimizer(recipe, 0.1, named)
    assert [parameter.stop_gradient for _, parameter in named] == [True] * 3 + [False] * 6
    assert len(optimizer._parameter_list) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"freeze": ["txt"]}, 'no parameter matches "txt"'),
        ({"freeze": ["("]}, "is not a regular expression"),
        ({"freeze": ["."]}, "no trainable parameters"),
        ({"layer_decay": 0.0}, "layer_decay is 0.0"),
        ({"layer_decay": 1.5}, "layer_decay is 1.5"),
    ],
)
def test_rules_that_cannot_be_meant(changes, message):
    with pytest.raises(ConfigError, match=message):
        build_optimizer({"name": "SGD", "learning_rate": 0.1, **changes}, 0.1, parameters())
