"""The options of ``-p``, and what is left of a run that was shorter than they say."""

import logging
from pathlib import Path

import paddle
import pytest

from paddlevideo.tasks.profiling import Profile, ProfilerOptions, profiler_options
from paddlevideo.utils.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ProfilerOptions()),
        ("batch_range=[3,5]", ProfilerOptions(3, 5)),
        ("batch_range=3,5", ProfilerOptions(3, 5)),
        (
            " batch_range = [50, 60]; profile_path=model.profile; state=All;",
            ProfilerOptions(50, 60, Path("model.profile")),
        ),
        ("sorted_key=max", ProfilerOptions(sorted_by="CPUMax")),
        ("sorted_key=calls", ProfilerOptions()),
    ],
)
def test_options_are_read_as_paddlevideo_writes_them(text, expected):
    assert profiler_options(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batchrange=[1,3]", 'Did you mean "batch_range"'),
        ("10,20", 'unknown profiler option "10,20"'),
        ("batch_range", "has no value"),
        ("batch_range=[a,b]", "batch_range is"),
        ("batch_range=[3]", "batch_range is"),
        ("batch_range=[5,3]", "the first one smaller"),
        ("batch_range=[-1,3]", "batch_range is"),
        ("sorted_key=name", "sorted_key is"),
    ],
)
def test_faults_say_what_is_expected(text, message):
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        profiler_options(text)


@pytest.mark.parametrize(("steps", "written"), [(2, 0), (4, 1)])
def test_a_run_that_was_too_short_leaves_what_there_was(tmp_path, caplog, steps, written):
    caplog.set_level(logging.INFO, "paddlevideo")
    profile = Profile(ProfilerOptions(3, 9), tmp_path)
    for _ in range(steps):
        paddle.ones([2]).sum()
        profile.step()
    profile.close()
    profile.close()
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == [f"-p: steps 3 to 9 were requested, but the run had only {steps}"]
    assert len(list(tmp_path.rglob("*_trace.json"))) == written
    assert len(list(tmp_path.rglob("table_rank0.txt"))) == written


def test_without_options_nothing_is_recorded(tmp_path):
    profile = Profile(None, tmp_path)
    profile.step()
    profile.close()
    assert not list(tmp_path.iterdir())
