"""The configuration of given weights, for pv.load, search and predict."""

from paddlevideo.inference.recipe import candidates_for, config_for


def test_the_configuration_is_the_one_beside_the_weights(tmp_path):
    weights = tmp_path / "w.pdparams"
    assert config_for(weights, None) == "actbert_msrvtt.yaml"
    (tmp_path / "config.yaml").touch()
    assert config_for(weights, None) == str(tmp_path / "config.yaml")
    assert config_for(weights, "mine.yaml") == "mine.yaml"


def test_as_many_clips_are_matched_as_are_asked_for():
    assert candidates_for(10) == 32
    assert candidates_for(50) == 50
    assert candidates_for(50, given=40) == 40
