from __future__ import annotations

import pickle

import numpy as np
import pytest

from paddlevideo.metrics import LossMetric, MSRVTTMetric, retrieval_metrics
from paddlevideo.registry import METRICS
from paddlevideo.utils.errors import ConfigError, DataError

SCORES = np.random.default_rng(1).normal(size=(9, 5)).astype(np.float32)
TRUTH = np.array([0, 1, 2, 3, 4, 0, 1, 2, 3])


def filled(metric, batches):
    for index in batches:
        metric.update(np.array(index), SCORES[index])
    return metric


def test_batches_in_any_order_and_twice_give_the_numbers_of_the_whole():
    metric = filled(MSRVTTMetric(), [[7, 8, 0], [3, 1, 2], [0, 0, 7], [4, 6, 5]])
    assert metric.result(TRUTH) == retrieval_metrics(SCORES, TRUTH)
    np.testing.assert_array_equal(metric.scores(9), SCORES)


def test_several_processes_give_one_process_numbers():
    parts = [filled(MSRVTTMetric(), [[0, 2], [4, 6]]), filled(MSRVTTMetric(), [[1, 3], [5, 7, 8]])]
    empty = MSRVTTMetric()  # a rank without a batch
    states = [pickle.loads(pickle.dumps(part.state())) for part in (*parts, empty, parts[0])]
    merged = MSRVTTMetric()
    merged.merge(states)
    assert merged.result(TRUTH) == filled(MSRVTTMetric(), [list(range(9))]).result(TRUTH)


def test_missing_rows_are_counted():
    metric = filled(MSRVTTMetric(), [[0, 1], [3, 4, 5, 6]])
    with pytest.raises(DataError, match=r"3 of 9 samples are missing, the first one for sample 2"):
        metric.result(TRUTH)


def test_rows_beyond_the_captions_are_refused():
    with pytest.raises(DataError, match="sample 8, but there are only 8"):
        filled(MSRVTTMetric(), [list(range(9))]).result(TRUTH[:8])


def test_scores_that_are_not_finite_name_the_caption():
    scores = SCORES[:2].copy()
    scores[1, 3] = np.nan
    with pytest.raises(DataError, match="caption 42 and video 3"):
        MSRVTTMetric().update(np.array([7, 42]), scores)


@pytest.mark.parametrize("shape", [(2,), (3, 5)])
def test_rows_must_fit_the_index(shape):
    with pytest.raises(DataError, match="expected"):
        MSRVTTMetric().update(np.array([0, 1]), np.zeros(shape))


def test_best_says_which_way_is_better():
    assert MSRVTTMetric().higher_is_better
    assert not MSRVTTMetric(best="video_to_text.MedianR").higher_is_better
    with pytest.raises(ConfigError, match=r'Did you mean "text_to_video.R@10"'):
        MSRVTTMetric(best="text_to_video.R10")


def test_metrics_are_registered_under_the_names_users_type():
    assert isinstance(METRICS.build({"name": "MSRVTTMetric"}), MSRVTTMetric)
    assert isinstance(METRICS.build({"name": "LossMetric"}), LossMetric)


def test_loss_is_a_mean_over_samples_not_over_batches():
    metric = LossMetric()
    metric.update(np.array([0, 1, 2]), {"loss": np.array([1.0, 2.0, 3.0])})
    metric.update(np.array([3, 0]), {"loss": np.array([10.0, 99.0])})
    assert metric.result() == {"loss": 4.0}
    assert not metric.higher_is_better


def test_loss_does_not_depend_on_the_split_into_processes():
    losses = np.random.default_rng(0).normal(size=101).astype(np.float32)
    whole, merged = LossMetric(), LossMetric()
    whole.update(np.arange(101), {"loss": losses})
    for part in (slice(1, None, 2), slice(0, None, 2)):
        rank = LossMetric()
        rank.update(np.arange(101)[part], {"loss": losses[part]})
        merged.merge([rank.state()])
    assert merged.result() == whole.result()


def test_losses_are_checked():
    metric = LossMetric(best="match_loss")
    with pytest.raises(DataError, match="sample 5"):
        metric.update(np.array([4, 5]), {"loss": np.array([0.0, np.inf])})
    with pytest.raises(DataError, match="one finite number per sample"):
        metric.update(np.array([4]), {"loss": np.zeros((1, 2))})
    with pytest.raises(DataError, match="no predictions"):
        metric.result()
    metric.update(np.array([0]), {"loss": np.zeros(1)})
    with pytest.raises(ConfigError, match='METRIC.best is "match_loss".*are loss'):
        metric.result()
    with pytest.raises(DataError, match="1 of 2 samples are missing"):
        metric.result(truth=[None, None])
    with pytest.raises(ConfigError, match="LossMetric averages named losses.*ndarray"):
        metric.update(np.array([0]), np.zeros((1, 3)))
    with pytest.raises(ConfigError, match="ranks the clips of a gallery.*returns loss"):
        MSRVTTMetric().update(np.array([0]), {"loss": np.zeros(1)})
