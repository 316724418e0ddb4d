"""Building models: settings of the process."""

import paddle
import pytest

from paddlevideo.modeling import build


def test_a_flag_in_the_environment_is_kept(monkeypatch):
    if paddle.device.get_device().startswith("gpu"):
        pytest.skip("the flag is for CPUs")
    flags = []
    monkeypatch.setattr(build.paddle, "set_flags", flags.append)
    monkeypatch.delenv("FLAGS_use_stride_kernel", raising=False)
    build.copy_transposes()
    assert flags == [{"FLAGS_use_stride_kernel": False}]
    monkeypatch.setenv("FLAGS_use_stride_kernel", "1")
    build.copy_transposes()
    assert len(flags) == 1
