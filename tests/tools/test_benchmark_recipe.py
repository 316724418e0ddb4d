"""Steps of a recipe, as the benchmarks ``negatives`` and ``denormals`` take and compare them."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from benchmarks import denormals, recipe
from paddlevideo.solver.state import state_by_structured_name
from tests.tiny_data import make_project


@pytest.fixture
def trainer(tmp_path):
    made = recipe.quiet_trainer(str(make_project(tmp_path)), ["num_threads=1"], tmp_path / "run")
    made.model.train()
    yield made
    made.meters.close()
    made.run.lock.release()


def test_moments_beside_weights_are_restored_without_the_end_of_the_schedule(trainer, tmp_path):
    trainer.train_step([next(iter(trainer.loader.epoch(0)))])
    updater, model = trainer.updater, trainer.model
    saved = state_by_structured_name(updater.optimizer, model)
    paddle.save({"optimizer": saved}, str(tmp_path / "old.pdopt"))
    (key,) = (key for key in saved if key.endswith("word_head.decoder_bias/moment1"))
    assert saved["LR_Scheduler"]["step"] == 1 and saved[key].any()
    trainer.train_step([next(iter(trainer.loader.epoch(0)))])
    assert (state_by_structured_name(updater.optimizer, model)[key] != saved[key]).any()
    recipe.load_moments(trainer, tmp_path / "old.pdopt")
    restored = state_by_structured_name(updater.optimizer, model)
    np.testing.assert_array_equal(restored[key], saved[key])
    assert restored["LR_Scheduler"]["step"] == 2
    recipe.load_moments(trainer, tmp_path / "missing.pdopt")  # weights alone


def test_kept_is_compared_with_flushed_turn_by_turn():
    kept = [{"milliseconds": ms, "losses": [2.0, 1.0]} for ms in (30.0, 40.0, 90.0)]
    flushed = [{"milliseconds": ms, "losses": [2.0, 1.25]} for ms in (10.0, 20.0, 30.0)]
    report = denormals.compared({"kept": kept, "flushed": flushed})
    assert report["milliseconds"]["kept"] == {"median": 40.0, "min": 30.0, "max": 90.0}
    assert report["ratio"] == {"median": 3.0, "min": 2.0, "max": 3.0}
    assert report["loss_difference"] == pytest.approx(0.2)
