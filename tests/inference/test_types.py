"""What users' type checkers see of the package: names here, types in ``typed_use.py``."""

from __future__ import annotations

import re
from pathlib import Path

import paddlevideo as pv

PACKAGE = Path(pv.__file__).parent


def test_the_stub_has_the_public_names():
    stub = (PACKAGE / "__init__.pyi").read_text("utf-8")
    names = set(re.findall(r" as (\w+)$|^(\w+):", stub, re.M))
    assert {first or second for first, second in names} == set(pv.__all__)
    assert all(getattr(pv, name) for name in pv.__all__)
