"""The public names of paddlevideo.export."""

import subprocess
import sys

import pytest

from paddlevideo import export


def test_the_package_gives_its_public_names():
    for name in export.__all__:
        assert getattr(export, name).__module__.startswith("paddlevideo.export.")
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = export.no_such_name


def test_a_manifest_is_read_without_paddle():
    use = "from paddlevideo.export import read_manifest"
    code = f"import sys; {use}; assert 'paddle' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
