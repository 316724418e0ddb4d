from __future__ import annotations

import argparse
import dataclasses
import typing
from typing import Annotated, Any

import pytest

from paddlevideo import registry
from paddlevideo.config import check_config, import_parts, load_config
from paddlevideo.config.arguments import schema_of
from paddlevideo.config.settings import AccumulationSettings, DatasetSettings, RunSettings
from paddlevideo.extract import schema as extraction
from paddlevideo.registry import Registry
from paddlevideo.utils.amp_settings import AmpSettings
from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.ranges import Range, number

#: Numbers that every value suits: PaddleVideo's files have them and nothing reads them, the check
#: of the value is another one, or both signs mean something.
WITHOUT_BOUNDS = {
    "MSRVTTDataset.spatials_dim",
    "MSRVTTMetric.data_size",
    "MSRVTTMetric.batch_size",
    "ImageInput.scale",
    "ImageInput.mean",
    "ImageInput.std",
    "ClipInput.scale",
    "ClipInput.mean",
    "ClipInput.std",
}


def numbers_without_bounds(hint: Any) -> bool:
    if hint in (int, float):
        return True
    if typing.get_origin(hint) is Annotated:
        inner, *remarks = typing.get_args(hint)
        return not any(isinstance(remark, Range) for remark in remarks) and numbers_without_bounds(
            inner
        )
    if typing.get_origin(hint) is typing.Literal:
        return False
    return any(numbers_without_bounds(inner) for inner in typing.get_args(hint))


def parts() -> list[Any]:
    import_parts()
    registries = [value for value in vars(registry).values() if isinstance(value, Registry)]
    ours = [each.get(name) for each in registries for name in each]
    schemas = [
        each
        for each in vars(extraction).values()
        if dataclasses.is_dataclass(each) and each.__module__ == extraction.__name__
    ]
    return [
        part
        for part in [
            *ours, *schemas, RunSettings, DatasetSettings, AccumulationSettings, AmpSettings
        ]
        if part.__module__.startswith("paddlevideo.")
    ]  # fmt: skip


def test_every_number_of_a_configuration_has_bounds():
    unbounded = {
        f"{part.__name__}.{name}"
        for part in parts()
        for name, hint in schema_of(part).hints.items()
        if numbers_without_bounds(hint)
    }
    assert unbounded == WITHOUT_BOUNDS


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("OPTIMIZER.learning_rate=-1e-4", "OPTIMIZER.learning_rate: expected 0 or more"),
        (
            "OPTIMIZER.learning_rate=.nan",
            "learning_rate: expected a finite number, got nan",
        ),
        (
            "OPTIMIZER.learning_rate={name: ConstantLR, base_lr: -1}",
            "OPTIMIZER.learning_rate.base_lr: expected 0 or more",
        ),
        (
            "OPTIMIZER.weight_decay=.inf",
            "weight_decay: expected a finite number, got inf",
        ),
        ("OPTIMIZER.weight_decay={name: L2, value: -1}", "weight_decay.value: is -1.0; expected 0"),
        ("OPTIMIZER.grad_clip={name: norm, value: 0}", "grad_clip.value: is 0.0; expected more"),
        ("OPTIMIZER.lr_scale=[{match: x, scale: -1}]", "lr_scale.0.scale: is -1.0; expected 0"),
        ("OPTIMIZER={name: Adam, learning_rate: 1, beta1: 1.0}", "beta1: expected 0 or more and"),
        ("MODEL.backbone.hidden_dropout_prob=1.5", "hidden_dropout_prob: expected 0 to 1"),
        ("MODEL.backbone.num_attention_heads=0", "num_attention_heads: expected 1 or more"),
        ("MODEL.backbone.t_ent_attention_id=[-1, 2]", "t_ent_attention_id.0: expected 0 or more"),
        ("MODEL.top_k=[4, -1]", "MODEL.top_k.1: expected 0 or more"),
        ("MODEL.pair_batch=0", "MODEL.pair_batch: expected 1 or more"),
        ("MODEL.gallery_gigabytes=-1", "MODEL.gallery_gigabytes: expected 0 or more"),
        (
            "MODEL.retrieval_head={name: RetrievalHead, temperature: 0}",
            "MODEL.retrieval_head.temperature: expected more than 0",
        ),
        (
            "MODEL.retrieval_head={name: RetrievalHead, similarity_weight: -1}",
            "similarity_weight: expected 0 or more",
        ),
        ("DATASET.skip_bad=1", "DATASET.skip_bad: expected 0 or more and less than 1"),
        ("amp.init_loss_scaling=0", "amp.init_loss_scaling: expected more than 0"),
        ("ema_decay=1", "ema_decay: expected 0 or more and less than 1"),
        ("seed=18446744073709551616", "seed: expected 0 or more and less than"),
        ("patience=2", "patience: 2 validations are counted, but nothing is validated"),
    ],
)
def test_numbers_out_of_bounds_are_named_with_their_key(override, message):
    import_parts()
    config = load_config("actbert.yaml", [override])
    with pytest.raises(ConfigError) as raised:
        check_config(config, mode="train")
    assert message in str(raised.value).replace("OPTIMIZER.OPTIMIZER", "OPTIMIZER")


def test_patience_is_no_question_where_nothing_is_trained_or_something_is_validated():
    config = load_config("actbert_demo.yaml", ["patience=2"])
    for arguments in ({"mode": "train", "validate": True}, {"mode": "export"}):
        try:
            check_config(config, **arguments)
        except ConfigError as error:
            assert "patience" not in str(error)


def test_numbers_of_command_lines_have_the_same_bounds():
    parser = argparse.ArgumentParser()
    parser.add_argument("--share", type=number(float, Range(at_least=0, at_most=1)))
    parser.add_argument("--count", type=number(int, Range(at_least=1)))
    assert parser.parse_args(["--share", "0.5", "--count", "2"]).share == 0.5
    for wrong in (["--share", "nan"], ["--share", "2"], ["--count", "0"], ["--count", "1.5"]):
        with pytest.raises(SystemExit):
            parser.parse_args(wrong)
