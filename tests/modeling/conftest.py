"""Fixtures of the modeling tests."""

import pytest

from tests.modeling.tiny import build, make_batch


@pytest.fixture
def tiny_model():
    return build()


@pytest.fixture
def batch():
    return make_batch()
