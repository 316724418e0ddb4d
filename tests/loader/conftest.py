"""Fixtures for the tests of the loader."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def caption_path(tmp_path):
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(["cut the onion", "add salt!season it", "serve"]))
    return str(path)
