"""The interface between a model and the training loop."""

from __future__ import annotations

import pytest

from paddlevideo.modeling import BaseFramework
from paddlevideo.utils.errors import ConfigError
from tests.modeling.tiny import build, make_batch


def test_given_counts_divide_the_losses_instead_of_the_batchs_own():
    model, batch = build(), make_batch(clips=4)
    counts, means = model.loss_counts(batch), model(batch)
    assert model(batch, counts)["loss"].item() == means["loss"].item()
    halves = model(batch, {name: 2 * count for name, count in counts.items()})
    for name, mean in means.items():
        assert float(halves[name]) == pytest.approx(float(mean) / 2, rel=1e-6), name


def test_the_interface_of_earlier_releases_is_refused_with_the_way_out():
    with pytest.raises(ConfigError, match=r"Old.denominators.*is now loss_counts\(batch\)"):

        class Old(BaseFramework):
            def denominators(self, batch):
                return {}
