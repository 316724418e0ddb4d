"""``pip install .``: the wheel holds all that a user in another folder needs."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import paddlevideo as pv
from paddlevideo.extract.settings import as_yaml_map
from tests.serve.server import get, serving, wait_until_ready

ROOT = Path(__file__).parents[1]
SOURCES = ("paddlevideo", "configs", "setup.py", "pyproject.toml", "README.md", "LICENSE")
pytestmark = pytest.mark.slow

USE = """
import sys
import paddlevideo as pv
from pathlib import Path
from paddlevideo.config import find_config
from paddlevideo.loader import load_tokenizer

def texts_in(node):
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    yield from [node] if isinstance(node, str) else []
    for child in children:
        yield from texts_in(child)

site = Path(sys.argv[1])
assert Path(pv.__file__).is_relative_to(site), pv.__file__
assert find_config("actbert.yaml").is_relative_to(site)
config = pv.load_config("actbert.yaml", overrides=["epochs=1"])
assert config.MODEL.framework == "ActBert" and config.epochs == 1
assert pv.load_config("actbert_msrvtt.yaml").METRIC.name == "MSRVTTMetric"
for path in (site / "paddlevideo/configs").rglob("*.yaml"):
    for text in texts_in(pv.load_config(path)):
        assert not text.startswith("configs/"), f"{path} names {text}, which is not there"
print(load_tokenizer("bert-base-uncased").encode("a man cuts an onion", 36))
"""

#: What the installed program does.
START = "import sys; from paddlevideo.cli import main; sys.exit(main())"


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The project's source archive, built from a copy so that the clone gets no build folder."""
    from setuptools import __version__

    if int(__version__.split(".")[0]) < 71:
        pytest.skip(
            f"setuptools {__version__} needs more than itself to build a wheel: 71 does not"
        )
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("sdist")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.pyc"))
        elif (ROOT / name).is_file():
            shutil.copy(ROOT / name, source / name)
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", build, str(target)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = target.glob("*.tar.gz")
    return built


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """A wheel of the source archive: what is in it was in the archive."""
    source, target = tmp_path_factory.mktemp("unpacked"), tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(source, filter="data")
    (root,) = source.iterdir()
    command = ["-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "-w", str(target)]
    done = subprocess.run(
        [sys.executable, *command], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = target.glob("*.whl")
    return built


def test_the_archives_are_of_this_version(sdist, wheel):
    assert sdist.name == f"paddlevideo-{pv.__version__}.tar.gz"
    assert wheel.name == f"paddlevideo-{pv.__version__}-py3-none-any.whl"
    changes = (ROOT / "docs" / "CHANGELOG.md").read_text("utf-8")
    assert re.search(r"^## (\d\S+)$", changes, re.MULTILINE)[1] == pv.__version__
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith("dist-info/METADATA"))
        said = archive.read(path).decode().splitlines()
    assert "Classifier: Typing :: Typed" in said
    assert "Classifier: Programming Language :: Python :: 3.13" in said


def test_the_wheel_holds_code_configurations_and_vocabulary(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder, pattern, inside in (
        ("paddlevideo", "**/*.py", "paddlevideo"),
        ("paddlevideo/loader/vocab", "*", "paddlevideo/loader/vocab"),
        ("paddlevideo/report/templates", "*", "paddlevideo/report/templates"),
        ("paddlevideo/serve/templates", "*", "paddlevideo/serve/templates"),
        ("configs", "**/*", "paddlevideo/configs"),
    ):
        files = [path for path in (ROOT / folder).glob(pattern) if path.is_file()]
        assert files
        for path in files:
            assert f"{inside}/{path.relative_to(ROOT / folder).as_posix()}" in names
    assert not any(name.startswith(("tests", "tools", "configs/")) for name in names)


@pytest.fixture
def installed(wheel, tmp_path):
    """Runs Python in a folder of its own, where the wheel is installed and the clone is not."""
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)

    environment = {**os.environ, "PYTHONPATH": str(site)}

    def run(*words):
        done = subprocess.run(
            [sys.executable, *words],
            cwd=elsewhere,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run.site, run.folder, run.environment = site, elsewhere, environment
    return run


def test_another_folder_has_configurations_and_tokenizer(installed):
    out = installed("-c", USE, str(installed.site))
    assert out.strip() == "[101, 1037, 2158, 7659, 2019, 20949, 102]"
    assert not list(installed.folder.iterdir())


#: What makes a command short.
SMALLER = {
    "make_demo_data": "--train 34 --valid 6 --test 8",
    "train": "-o epochs=1 num_threads=1 MODEL.pair_batch=64",
}


def written(folder):
    """The names of what commands wrote there; coverage of ended processes is not theirs."""
    names = {path.name for path in folder.iterdir()}
    return {name for name in names if not name.startswith(".coverage.")}


def commands_of(page, start, language):
    """The commands of the first block of ``language`` after ``start``."""
    text = (ROOT / page).read_text("utf-8")
    (block, *_) = re.findall(rf"```{language}\n(.*?)```", text[text.index(start) :], re.DOTALL)
    return [line for line in block.splitlines() if line and not line.startswith("#")]


def test_the_way_from_own_videos_to_a_search_page_needs_no_clone(installed):
    """The commands of docs/videos.md, among them the README's, in an empty folder."""
    commands = commands_of("docs/videos.md", "# Your own videos", "bash")
    shown = commands_of("README.md", "## Your own videos", "sh")
    assert [shlex.split(line)[1] for line in shown] == ["extract", "split", "train", "serve"]
    assert [line for line in commands if line in shown] == shown
    for command in commands:
        _, verb, *words = shlex.split(command)
        if verb == "serve":
            open_a_search_page(installed, words)
        else:
            out = installed("-c", START, verb, *words, *SMALLER.get(verb, "").split())
    assert len(out.splitlines()) >= 5  # the clips that the search found
    folder = installed.folder
    results = json.loads((folder / "output/ActBert_videos/results.json").read_text())
    assert results["protocol"]["videos"] == 5
    divided = json.loads((folder / "data/videos.store.split.json").read_text())
    assert [len(divided[side]) for side in ("train", "valid", "test")] == [38, 5, 5]
    extraction = json.loads((folder / "output/ActBert_videos/extraction.json").read_text())
    assert as_yaml_map(extraction)["actions"]["vectors"]["name"] == "classical"
    assert (folder / "sheet.png").stat().st_size > 10_000
    assert "<html" in (folder / "report.html").read_text()
    statuses = (folder / "data/videos.store.status.jsonl").read_text().splitlines()
    assert len(statuses) == 48 and all('"done"' in line for line in statuses)
    assert written(folder) == {"data", "output", "sheet.png", "report.html"}


def open_a_search_page(installed, words):
    """A server answers a search, until Ctrl-C."""
    command = [sys.executable, "-c", START, "serve", *words, "--port", "0"]
    with serving(command, cwd=installed.folder, env=installed.environment) as (process, address):
        wait_until_ready(address)
        status, text, _ = get(f"{address}api/search?text=a+green+triangle+shrinks")
        assert status == 200 and json.loads(text)["clips"]
        assert "<form" in get(address)[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


def test_the_demo_runs_without_a_clone(installed):
    demo = """
import sys
from pathlib import Path
from paddlevideo.cli.demo import run
run(Path("data"), Path("output"), ["epochs=1", "val_interval=1", "num_threads=1"], sys.argv[1:])
"""
    sizes = "--train 32 --valid 4 --test 8 --frames 8 --side 48"
    out = installed("-c", demo, *sizes.split())
    assert "== 6/6 draw the results" in out
    assert (installed.folder / "output/ActBert_demo_best.pdparams").is_file()
    assert written(installed.folder) == {"data", "output"}


def test_the_command_is_installed_and_the_doctor_needs_no_clone(installed):
    (entries,) = installed.site.glob("*.dist-info/entry_points.txt")
    assert "paddlevideo = paddlevideo.cli:main" in entries.read_text()
    installed("-c", START, "train", "--help")
    out = installed("-c", START, "doctor", "--json", "doctor.json")
    findings = json.loads((installed.folder / "doctor.json").read_text())
    checked = {finding["subject"] for finding in findings if finding["status"] != "problem"}
    assert {"Python", "packages", "training"} <= checked, out
    assert [path.name for path in installed.folder.iterdir()] == ["doctor.json"]
