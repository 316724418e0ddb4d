"""Settings as objects: where a key is missing, its default holds."""

from __future__ import annotations

import pytest

from paddlevideo.config.settings import accumulation_settings, dataset_settings


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({}, (8, 8, 8, 0)),
        ({"batch_size": 32}, (32, 32, 32, 0)),
        ({"batch_size": 32, "test_batch_size": 16, "num_workers": 2}, (32, 32, 16, 2)),
        ({"valid_batch_size": 4}, (8, 4, 8, 0)),
    ],
)
def test_a_split_has_the_general_sizes_unless_it_has_its_own(section, expected):
    data = dataset_settings({"DATASET": {**section, "train": {}}})
    sizes = (data.batch_size, data.valid_batch_size, data.test_batch_size, data.test_num_workers)
    assert sizes == expected


@pytest.mark.parametrize("config", [{}, {"GRADIENT_ACCUMULATION": None}])
def test_without_a_section_there_is_no_accumulation(config):
    assert accumulation_settings(config) is None
