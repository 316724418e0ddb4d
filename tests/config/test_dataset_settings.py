"""Settings of sections that are not parts."""

import pytest

from paddlevideo.config.settings import dataset_settings


@pytest.mark.parametrize(
    "section, expected",
    [
        (None, (8, 8, 8, 0, 0)),
        ({"batch_size": 4, "num_workers": 2}, (4, 4, 4, 2, 2)),
        ({"batch_size": 4, "test_batch_size": None, "valid_batch_size": 2}, (4, 2, 4, 0, 0)),
        ({"valid_num_workers": 3, "train": {"format": "ActBertDataset"}}, (8, 8, 8, 3, 0)),
    ],
)
def test_keys_of_a_split_default_to_the_general_ones(section, expected):
    settings = dataset_settings({"DATASET": section})
    sizes = (settings.batch_size, settings.valid_batch_size, settings.test_batch_size)
    assert (*sizes, settings.valid_num_workers, settings.test_num_workers) == expected
