"""What has changed since a checkpoint."""

from inspect import signature

from paddlevideo.config.compare import differences
from paddlevideo.modeling.backbones.actbert import BertForMultiModalPreTraining
from paddlevideo.utils.nested import ABSENT


def test_every_changed_key_is_named_and_judged():
    before = {
        "epochs": 3,
        "log_interval": 10,
        "MODEL": {"backbone": {"hidden_size": 8, "pretrained": "a"}, "pair_batch": 4},
        "PIPELINE": {"train": {"transform": [{"RandomMask": {"word_rate": 0.1}}, "Tokenize"]}},
        "DATASET": {"train": {"file_path": "a.npy"}, "num_workers": 2},
    }
    now = {
        "epochs": 3,
        "log_interval": 20,
        "MODEL": {"backbone": {"hidden_size": 16, "pretrained": "b"}, "pair_batch": 8},
        "PIPELINE": {"train": {"transform": [{"RandomMask": {"word_rate": 0.2}}]}},
        "DATASET": {"train": {"file_path": "a.npy", "only": "x"}, "num_workers": 0},
    }
    found = {change.key: change for change in differences(before, now)}
    decisive = {key for key, change in found.items() if change.decisive}
    assert decisive == {
        "MODEL.backbone.hidden_size",
        "PIPELINE.train.transform.0.RandomMask.word_rate",
        "PIPELINE.train.transform.1",
        "DATASET.train.only",
    }
    assert found.keys() - decisive == {
        "log_interval",
        "MODEL.backbone.pretrained",
        "MODEL.pair_batch",
        "DATASET.num_workers",
    }
    assert found["DATASET.train.only"].before == ABSENT
    assert str(found["MODEL.backbone.hidden_size"]) == "MODEL.backbone.hidden_size: 8 -> 16"


def test_equal_configurations_do_not_differ():
    config = {"a": [1, {"b": None}], "c": {}}
    assert differences(config, {"a": [1, {"b": None}], "c": {}}) == []
    assert [change.key for change in differences({"a": {"b": 1}}, {"a": 1})] == ["a"]


def test_how_weights_were_initialized_does_not_matter_to_a_run_that_continues():
    """A run from before these settings existed resumes with a recipe that names them."""
    names = [name for name in signature(BertForMultiModalPreTraining).parameters if "init" in name]
    assert len(names) == 4
    now = {"MODEL": {"backbone": dict.fromkeys(names, 0.02)}}
    assert [change.decisive for change in differences({"MODEL": {"backbone": {}}}, now)] == [
        False
    ] * 4
