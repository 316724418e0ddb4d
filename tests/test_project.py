"""What holds for the project as a whole: packaging, floors, and what may not be loaded or named."""

from __future__ import annotations

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "paddlevideo"
TOP_LEVEL = {
    *("main.py", "configs", "paddlevideo", "tools", "tests", "requirements.txt", "setup.py"),
    *(
        "README.md",
        "docs",
        "Makefile",
        "LICENSE",
        "pyproject.toml",
        "mkdocs.yml",
        "README.zh-CN.md",
    ),
}


@pytest.fixture(scope="module")
def packaging():
    """The arguments that setup.py gives to setuptools."""
    seen = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **arguments: seen.update(arguments))
        patch.chdir(ROOT)
        runpy.run_path(str(ROOT / "setup.py"))
    return seen


def requirement_lines():
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def test_setup_and_requirements_name_the_same_packages(packaging):
    extras = packaging["extras_require"]
    assert requirement_lines() == {
        *packaging["install_requires"],
        *extras["cpu"],
        *extras["video"],
    }
    assert all(re.fullmatch(r"[\w-]+>=[\d.]+", line) for line in requirement_lines()), (
        "test-paddle26 turns >= into ==, so a requirement is one lower bound"
    )


def test_a_wheel_has_one_kind_of_paddle_by_choice(packaging):
    assert not any("paddle" in line for line in packaging["install_requires"])
    extras = packaging["extras_require"]
    assert {"cpu", "gpu", "paddlenlp", "visualdl", "onnx", "dev"} <= set(extras)
    assert extras["gpu"] == [line.replace("paddle>", "paddle-gpu>") for line in extras["cpu"]]


def test_every_folder_of_code_and_data_is_packaged(packaging):
    packages = set(packaging["packages"])
    for folder in {path.parent for path in PACKAGE.rglob("*.py")}:
        assert ".".join(folder.relative_to(ROOT).parts) in packages
    assert packaging["package_dir"] == {"paddlevideo.configs": "configs"}
    assert list((ROOT / "configs").glob("**/*.yaml"))
    for package in ("loader", "report"):
        (pattern,) = packaging["package_data"][f"paddlevideo.{package}"]
        assert list((PACKAGE / package).glob(pattern))


def test_versions_agree(packaging):
    import paddlevideo

    assert packaging["version"] == paddlevideo.__version__


def test_admitted_pythons_agree(packaging):
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", packaging["python_requires"]).groups()
    newest = int(high) - 1
    assert f"Python 3.{low} to 3.{newest} on Linux" in (ROOT / "README.md").read_text("utf-8")
    for target, first in ((".venv", low), (".venv-paddle26", low), (".venv-newest", newest)):
        line = make("-n", "-B", f"{target}/bin/python")
        last = 12 if "26" in target else newest  # the newest that Paddle 2.6 has
        assert f"(3, {first}) <= sys.version_info[:2] <= (3, {last})" in line


def test_the_top_level_holds_what_the_layout_allows():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git clone")
    names = {line.split("/")[0] for line in listed.stdout.splitlines()}
    assert {name for name in names if not name.startswith(".")} <= TOP_LEVEL


@pytest.mark.parametrize(
    "module",
    [
        "paddlevideo",
        "paddlevideo.config",
        "paddlevideo.extract",
        "paddlevideo.loader",
        "paddlevideo.metrics",
        "paddlevideo.registry",
        "paddlevideo.report",
        "paddlevideo.safe_pickle",
        "paddlevideo.utils",
        "main",
    ],
)
def test_importing_is_light_and_silent(module):
    """Without Paddle and cv2, without a word, a file, or a signal handler of its own."""
    code = (
        "import signal, sys\n"
        "before = [signal.getsignal(s) for s in signal.valid_signals()]\n"
        f"import {module}\n"
        "assert before == [signal.getsignal(s) for s in signal.valid_signals()], 'signals'\n"
        "heavy = {'paddle', 'cv2', 'torch', 'paddlenlp', 'matplotlib', 'jinja2', 'PIL'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def dotted_names(path):
    """Dotted names that a module mentions, in imports and in expressions."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_only_runtime_names_ranks_and_precision():
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "runtime"
        for name in dotted_names(path)
        if re.match(r"paddle\.(distributed|amp)\b", name)
    }
    assert not found


def test_the_loops_of_training_and_testing_know_no_task():
    """What a task is, its metric, framework and data set say."""
    for path in (PACKAGE / "tasks").glob("*.py"):
        named = re.findall(
            r"(?i)actbert|msrvtt|retriev\w*|gallery|caption\w*", path.read_text("utf-8")
        )
        assert not named, f"{path.name}: {named}"


def make(*arguments):
    done = subprocess.run(
        ["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_make_lists_its_targets():
    shown = make()
    for target in ("demo", "test", "test-fast", "test-paddle26", "test-newest", "lint", "clean"):
        assert f"make {target} " in shown


def test_the_package_lists_its_public_names():
    import paddlevideo

    assert {"build_model", "load_config", "load_weights", "__version__"} <= set(dir(paddlevideo))
    for name in paddlevideo.__all__:
        assert getattr(paddlevideo, name)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = paddlevideo.no_such_name


def test_every_script_is_a_door_to_a_command():
    """What a command does is in the package; the scripts only start it."""
    scripts = {path for path in (ROOT / "tools").glob("*.py") if path.stem != "door"}
    assert len(scripts) > 10
    for script in [ROOT / "main.py", *scripts]:
        *_, start = ast.parse(script.read_text("utf-8")).body
        assert ast.unparse(start).startswith("if __name__ == '__main__':"), script
        assert "run_command(" in ast.unparse(start) and len(start.body) == 1, script
        assert script.read_text("utf-8").count("import ") <= 2, script


def test_every_command_reads_and_ends_in_the_same_way():
    from paddlevideo.cli import VERBS

    modules = {re.match(r"\w+", target)[0] for target in VERBS.values()}
    files = [PACKAGE / "cli" / f"{module}.py" for module in modules]
    tools = [ROOT / "tools" / name / "command.py" for name in ("benchmarks", "gpu_checks")]
    for file in [*files, *tools]:
        text = file.read_text("utf-8")
        assert "Parser(" in text and "exit_code_of(" in text, file
        assert not re.search(r"type=(Path|str)\b|SystemExit", text), file


def test_no_module_changes_where_python_looks_for_modules():
    """Two have a reason, which they give: the scripts' door, and the import of a user's parts."""
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "tools").rglob("*.py"), ROOT / "main.py"]
    changing = {
        path.relative_to(ROOT).as_posix()
        for path in files
        if re.search(r"sys\.path\.(insert|append)", path.read_text("utf-8"))
    }
    assert changing == {"tools/door.py", "paddlevideo/config/check.py"}
