"""A running extraction for those who watch it: metrics, and a log in JSON."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from paddlevideo.extract import run as extract_run
from paddlevideo.extract.totals import Totals
from paddlevideo.extract.work import FAILED, Status
from tests.extract import samples

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Three videos and one that is not, whose name is not ASCII."""
    folder = samples.write_clips(tmp_path_factory.mktemp("clips"))
    (folder / "坏.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + b"x" * 1000)
    return folder


@pytest.fixture
def run(capfd, tmp_path):
    return samples.Command(capfd, tmp_path / "c.store")


def numbers_of(text):
    """The numbers of the text format by name with labels."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


# ------------------------------------------------------------------------------- metrics


def test_totals_are_sums_over_videos():
    pytest.importorskip("prometheus_client", reason='needs the extra "serve"')
    from prometheus_client import CollectorRegistry

    totals, registry = Totals(), CollectorRegistry()
    registry.register(totals)

    def value(name, **labels):
        return registry.get_sample_value(f"paddlevideo_extract_{name}", labels)

    assert value("videos_total", status="failed", cause="crashed") == 0, "known before the first"
    totals.begin(3, lambda: 2)
    before = value("last_video_timestamp_seconds")
    clip = ("a", 0, None, None)
    totals.add(Status("a", "a.mp4", clips=[clip] * 2, frames=9, seconds=3.0, decode_seconds=1.0))
    totals.add(Status("b", "b.mp4", FAILED, "empty"))
    assert value("videos_total", status="done", cause="") == 1
    assert value("videos_total", status="failed", cause="empty") == 1
    assert (value("frames_total"), value("clips_total"), value("videos_left")) == (9, 2, 1)
    assert value("seconds_total", stage="decoding") == 1.0
    assert value("seconds_total", stage="features") == 2.0
    assert value("workers") == 2 and value("last_video_timestamp_seconds") >= before


def test_a_run_answers_prometheus_until_it_ends(clips, run, monkeypatch, capfd):
    pytest.importorskip("prometheus_client", reason='needs the extra "serve"')
    seen, addresses, tell = [], [], extract_run._tell

    def ask(status):
        tell(status)
        if not addresses:
            addresses.extend(re.findall(r"^metrics on (\S+)$", capfd.readouterr().err, re.M))
        with urllib.request.urlopen(addresses[0], timeout=10) as answer:
            seen.append(numbers_of(answer.read().decode()))

    monkeypatch.setattr(extract_run, "_tell", ask)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    code, out, _ = run(clips, "--metrics_port", "0", "--workers", "1")
    assert code == 1 and "3 done, 1 failed" in out
    assert addresses[0].startswith("http://127.0.0.1:") and addresses[0].endswith("/metrics")
    name = "paddlevideo_extract_"
    assert [each[f"{name}videos_left"] for each in seen] == [3, 2, 1, 0]
    last = seen[-1]
    assert last[f'{name}videos_total{{cause="",status="done"}}'] == 3
    assert last[f'{name}videos_total{{cause="cannot be opened",status="failed"}}'] == 1
    assert last[f"{name}clips_total"] == 3 and last[f"{name}workers"] == 1
    assert last["process_resident_memory_bytes"] > 0
    with pytest.raises(OSError):
        urllib.request.urlopen(addresses[0], timeout=10)


def test_the_numbers_are_left_in_a_file_however_the_run_ends(clips, tmp_path, run, monkeypatch):
    pytest.importorskip("prometheus_client", reason='needs the extra "serve"')
    file = tmp_path / "metrics" / "extract.prom"
    assert run(clips, "--metrics_file", file)[0] == 1
    numbers = numbers_of(file.read_text())
    assert numbers['paddlevideo_extract_videos_total{cause="",status="done"}'] == 3
    assert numbers["paddlevideo_extract_videos_left"] == 0
    assert not any(name.startswith("process_") for name in numbers)
    assert [each.name for each in file.parent.iterdir()] == [file.name]

    def interrupted(status):
        raise KeyboardInterrupt

    monkeypatch.setattr(extract_run, "_tell", interrupted)
    words = ("--overwrite", "--metrics_file", file, "--dtype", "float32")
    assert run(clips, *words)[0] == 130
    assert numbers_of(file.read_text())["paddlevideo_extract_videos_left"] == 3
    code, _, err = run(clips, "--metrics_file", tmp_path)
    assert code == 2 and f"--metrics_file {tmp_path}: is a folder" in err


def test_a_port_in_use_is_told_before_any_work(clips, tmp_path, run):
    pytest.importorskip("prometheus_client", reason='needs the extra "serve"')
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = run(clips, "--metrics_port", port)
    assert (code, out) == (2, "") and err == (
        f"error: --metrics_port {port} is used by another program: choose another one, or "
        "--metrics_port 0 for any that is free\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_without_its_package_it_says_what_to_install(clips, tmp_path, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    code, out, err = run(clips, "--metrics_port", "0")
    assert (code, out) == (1, "") and err.endswith(
        "the package prometheus_client is not installed: pip install prometheus-client\n"
    )
    assert list(tmp_path.iterdir()) == []
    assert run(clips / "right.mp4")[0] == 0, "without metrics it is not needed"


# --------------------------------------------------------------------------------- JSON


def started(tmp_path, *words, before="pass"):
    """Starts the command in JSON; ``before`` is run first, in its process."""
    text = f"import sys\nfrom paddlevideo.cli import main\n{before}\nsys.exit(main())"
    arguments = ["extract", *map(str, words), "--output", str(tmp_path / "c.store")]
    return subprocess.Popen(
        [sys.executable, "-c", text, *arguments, "--log_format", "json"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def logged(process, given=""):
    """The exit code and the lines of such a command."""
    out, _ = process.communicate(timeout=60)
    return process.returncode, [json.loads(line) for line in (given + out).splitlines()]


def test_every_line_of_a_run_is_an_object(clips, tmp_path):
    captions = tmp_path / "captions.csv"
    captions.write_text("clip,caption\nright,it goes right\n")
    code, lines = logged(started(tmp_path, clips, "--captions", captions))
    assert code == 1
    videos = {line["video"]: line for line in lines if line["event"] == "video"}
    assert set(videos) == {"right.mp4", "sub/up.avi", "z.mkv", "坏.mp4"}
    failed, done = videos["坏.mp4"], videos["right.mp4"]
    assert (failed["level"], failed["status"]) == ("warning", "failed")
    assert failed["cause"] == "cannot be opened" and "moov" in failed["message"]
    assert (done["level"], done["status"], done["cause"], done["clips"]) == ("info", "done", "", 1)
    assert done["frames"] == 20 and done["seconds"] > done["decode_seconds"] > 0
    [summary] = [line for line in lines if line["event"] == "summary"]
    expected = {"done": 3, "before": 0, "failed": 1, "causes": {"cannot be opened": 1}}
    assert {name: summary[name] for name in expected} == expected
    assert any("3 clips, 1 captions" in line["message"] for line in lines)
    assert {"summary", "clips", "speed", "store"} <= {line["event"] for line in lines}


def test_mistakes_are_objects_too(clips, tmp_path):
    mistakes = {
        ("--workers", "many"): 'expected a whole number, got "many"',
        ("--dtyp", "float16"): "unknown option --dtyp",
        ("-c", "nowhere.yaml"): "nowhere.yaml",
    }
    running = {message: started(tmp_path, clips, *more) for more, message in mistakes.items()}
    for message, process in running.items():
        code, lines = logged(process)
        assert code == 2 and [(line["level"], line["event"]) for line in lines] == [
            ("error", "error")
        ]
        assert message in lines[0]["message"]


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_is_an_object(clips, tmp_path, sent, code):
    wait = (
        "import time; from paddlevideo.extract import run; tell = run._tell\n"
        "def slow(status): tell(status); time.sleep(60)\n"
        "run._tell = slow"
    )
    process = started(tmp_path, clips, before=wait)
    first = process.stdout.readline()
    process.send_signal(sent)
    done, lines = logged(process, first)
    assert done == code and lines[0]["event"] == "video"
    assert lines[-1]["level"] == "warning" and lines[-1]["message"].startswith("interrupted; run")


@pytest.mark.parametrize("where", ["run.read_videos", "job.Job.run"])
def test_a_bug_is_one_object_with_its_traceback(clips, tmp_path, where):
    """In the command and in a worker process, whose traceback is sent to it."""
    bug = f"from paddlevideo.extract import job, run\n{where} = lambda *_: 1 / 0"
    code, lines = logged(started(tmp_path, clips, before=bug))
    assert code == 1 and lines[-1]["level"] == "critical"
    assert "ZeroDivisionError" in lines[-1]["traceback"] and "Traceback" not in str(lines[:-1])
