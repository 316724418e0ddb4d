"""What a model's sizes let its data hold."""

from __future__ import annotations

import numpy as np
import pytest

from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.limits import Limit, check_extents, check_sample

LIMITS = {
    "ids": Limit("MODEL.words", 10, "words"),
    "rows": Limit("MODEL.width", 4, "classes", is_width=True),
}


def test_all_that_is_known_to_be_too_much_is_named_at_once() -> None:
    check_extents(LIMITS, {"ids": 10, "rows": 4, "other": 99}, "the data")
    check_extents(LIMITS, {"ids": 3, "rows": 0}, "the data")
    with pytest.raises(ConfigError, match=r"(?s)MODEL.words is 10, .* 11 words.*MODEL.width=3"):
        check_extents(LIMITS, {"ids": 11, "rows": 3}, "the data")


def test_a_sample_is_compared_by_value_or_by_width() -> None:
    good = {"ids": np.array([-1, 0, 9]), "rows": np.zeros((2, 4)), "name": "text"}
    check_sample(LIMITS, good, lambda: "clip a")
    check_sample(LIMITS, {"ids": np.array([], np.int64)}, lambda: "clip a")
    for bad in (10, -2):
        with pytest.raises(ConfigError, match=f"clip a: ids holds {bad}, but MODEL.words=10"):
            check_sample(LIMITS, {"ids": np.array([3, bad])}, lambda: "clip a")
    with pytest.raises(ConfigError, match="clip a has 5 classes: set MODEL.width=5"):
        check_sample(LIMITS, {"rows": np.zeros((2, 5))}, lambda: "clip a")
