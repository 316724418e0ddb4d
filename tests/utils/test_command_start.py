"""How commands begin: Ctrl-C, missing packages and closed streams."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from paddlevideo.utils.command import begin_command, exit_on_interrupt, interruptible

ROOT = Path(__file__).parents[2]
DOORS = {path for path in (ROOT / "tools").glob("*.py") if path.stem != "door"}
SCRIPTS = sorted([ROOT / "main.py", *DOORS])


def start(script, folder, *arguments):
    """Runs a script that finds the modules of ``folder`` before the standard library's."""
    command = [sys.executable, str(script), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_ctrl_c_while_a_script_starts_is_one_line(tmp_path, script):
    code = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    (tmp_path / "argparse.py").write_text(code)
    done = start(script, tmp_path)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "interrupted; run the same command again\n"


def test_ctrl_c_while_paddle_is_imported_is_one_line(tmp_path):
    (tmp_path / "paddle.py").write_text(
        "import os, signal\n"
        "try: os.kill(os.getpid(), signal.SIGINT)\n"
        "except BaseException: pass\n"  # as some packages do
    )
    done = start(ROOT / "main.py", tmp_path, "-c", "actbert.yaml")
    assert done.returncode == 130 and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "script, module, arguments, package",
    [
        ("main.py", "paddle", ["-c", "actbert.yaml"], "paddlepaddle, or paddlepaddle-gpu"),
        ("main.py", "yaml", ["-c", "actbert.yaml"], "PyYAML"),
        ("tools/search.py", "paddle", ["-w", "x", "--features", "y"], "paddlepaddle"),
        ("tools/ablate.py", "numpy", [], "numpy"),
        ("tools/make_demo_data.py", "cv2", [], "opencv-python-headless"),
    ],
)
def test_a_missing_package_is_one_line_with_its_installation(
    tmp_path, script, module, arguments, package
):
    code = f'raise ModuleNotFoundError("No module named {module!r}", name="{module}")\n'
    (tmp_path / f"{module}.py").write_text(code)
    done = start(ROOT / script, tmp_path, *arguments)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: the package {module} is not installed: pip install")
    assert package in done.stderr


def test_a_missing_library_of_the_system_is_one_line(tmp_path):
    (tmp_path / "cv2.py").write_text(
        'raise ImportError("libGL.so.1: cannot open", name="cv2", path="/site/cv2/cv2.abi3.so")\n'
    )
    done = start(ROOT / "tools/make_demo_data.py", tmp_path)
    assert done.returncode == 1 and done.stderr == (
        "error: the package cv2 cannot be loaded (libGL.so.1: cannot open): "
        "pip install --force-reinstall opencv-python-headless\n"
    )


def test_other_mistakes_keep_their_traceback(tmp_path):
    (tmp_path / "argparse.py").write_text("import no_such_module_of_ours\n")
    done = start(ROOT / "main.py", tmp_path)
    assert done.returncode == 1 and "Traceback" in done.stderr


def test_a_call_from_python_keeps_the_handlers():
    before = signal.getsignal(signal.SIGINT), sys.excepthook
    for block in (exit_on_interrupt(), interruptible()):
        with block:
            assert (signal.getsignal(signal.SIGINT), sys.excepthook) == before


def test_a_script_switches_between_an_exit_and_an_exception(monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    try:
        begin_command()
        ends = signal.getsignal(signal.SIGINT)
        assert ends not in (before, signal.default_int_handler)
        with interruptible():
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            with exit_on_interrupt():
                assert signal.getsignal(signal.SIGINT) is ends
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a background job of a shell
        with interruptible():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_closed_stream_is_not_the_next_file(tmp_path, number):
    script = (
        "from paddlevideo.utils.command import begin_command\n"
        "begin_command()\n"
        "import os, sys\n"
        "with open(sys.argv[1], 'w') as file:\n"
        "    assert file.fileno() > 2\n"
        "    print('out'); print('error', file=sys.stderr); sys.stdin.read()\n"
        "    for stream in (sys.stdin, sys.stdout, sys.stderr):\n"
        "        assert not stream.isatty()\n"
        "    os.write(1, b'native'); os.write(2, b'native')\n"
    )
    command = f'exec "$@" {number}>&-'
    done = subprocess.run(
        ["sh", "-c", command, "sh", sys.executable, "-c", script, str(tmp_path / "file")],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "file").read_text() == ""
