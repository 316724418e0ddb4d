"""Every command, Python block and YAML file of the documentation is run, at reduced sizes.

The commands run as they are typed, in a folder where the files that they name exist and
``configs/`` holds the shipped recipes at tiny sizes. ``--gpus`` becomes two processes.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from paddlevideo.cli import run as main
from paddlevideo.config import check_config, import_parts, load_config
from tests.loader.clips import make_clip
from tests.loader.clips import write as write_store
from tests.readme_runs import NOT_RUN, RUNS, room_for_a_run, run_tool, runner
from tests.user_folder import SHIPPED, make_user_folder
from tests.video_data import train_on_videos

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: Scripts, in blocks of their own, and the tests that run them.
SCRIPTS = {
    "networks.md": ["tests/extract/test_networks_page.py"],
    "videos.md": ["tests/test_install.py"],
    "training.md": ["tests/test_restart.py", "tests/test_elastic.py"],
    "clusters.md": ["tests/test_clusters.py"] * 2,
    "operations.md": ["tests/serve/test_operations_page.py"] * 3,
}


class Block(NamedTuple):
    page: Path
    line: int
    language: str
    text: str

    @property
    def file_name(self) -> str | None:
        """What the block is to be saved as, if its first line says so."""
        found = re.match(r"# (\S+\.(py|yaml))\n", self.text)
        return found and found.group(1)


def blocks(*languages: str) -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text("utf-8")
        for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S):
            line = text.count("\n", 0, found.start()) + 2
            if not languages or found.group(1) in languages:
                yield Block(page, line, *found.groups())


def lines(block: Block) -> Iterator[tuple[str, str]]:
    """The commands of a block, one per line, and where each is."""
    for index, line in enumerate(block.text.splitlines(), block.line):
        if command := re.sub(r"(^|\s+)#.*", "", line):
            yield command, f"{block.page.name}:{index}"


def commands() -> dict[str, str]:
    """Each command once, except those of scripts, with the first line that shows it."""
    in_scripts = {command for block in blocks("bash") for command, _ in lines(block)}
    shown: dict[str, str] = {}
    for block in blocks("sh"):
        for command, where in lines(block):
            if command not in in_scripts:
                shown.setdefault(command, where)
    return shown


# ---------------------------------------------------------------------- a user's folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder like a user's clone, with data, weights and recipes at tiny sizes."""
    folder = tmp_path_factory.mktemp("clone")
    make_user_folder(folder)
    for block in blocks("python", "yaml"):
        if block.file_name:
            (folder / block.file_name).write_text(block.text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main.main(["-c", "actbert.yaml", "-o", "num_threads=1"]) == 0
    trained = folder / "output" / "ActBert"
    for name in ("ActBERT.pdparams", "output/ActBert/ActBert_best.pdparams"):
        shutil.copy(trained / "ActBert_epoch_00001.pdparams", folder / name)
    (folder / "data" / "msrvtt" / "videos").mkdir()
    return folder


@pytest.fixture(scope="module")
def head(place):
    """What ``actbert_two_stage.yaml`` trains, for the commands that need it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        arguments = ["-c", "actbert_two_stage.yaml", "--validate", "-w", "ActBERT.pdparams"]
        arguments += ["--overwrite"]
        assert main.main(arguments) == 0


@pytest.fixture(scope="module")
def exported(place):
    """What ``paddlevideo export`` writes."""
    run_tool(
        "paddlevideo export -c actbert_msrvtt.yaml -w ActBERT.pdparams --output exported", place
    )


@pytest.fixture(scope="module")
def tested(place):
    """A test's files, for a report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main.main(["--test", "-w", "ActBERT.pdparams"]) == 0


@pytest.fixture(scope="module")
def packed(place):
    """A store of the pre-training rows."""
    rows, store = "data/howto100m/actbert_train_data.npy", "data/howto100m/train.store"
    run_tool(f"paddlevideo pack {rows} --output {store}", place)


@pytest.fixture(scope="module")
def tars(place, packed):
    """Its clips in tar files."""
    store, output = "data/howto100m/train.store", "data/howto100m/train.tars"
    run_tool(f"paddlevideo convert {store} --to webdataset --shards 8 --output {output}", place)


@pytest.fixture(scope="module")
def mine(place):
    """A store and a list of clips, as of a user's videos."""
    run_tool("paddlevideo pack data/howto100m/actbert_train_data.npy --output data/my.store", place)
    (place / "test.txt").write_text("clip003\nclip007\n")


@pytest.fixture(scope="module")
def compared(place, head, tested):
    """The queries of two tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        weights = "output/ActBert_two_stage/ActBert_two_stage_best.pdparams"
        assert main.main(["--test", "-c", "actbert_two_stage.yaml", "-w", weights]) == 0


@pytest.fixture(scope="module")
def youcook2(place):
    """Weights of the YouCook2 recipe."""
    output = place / "output" / "ActBert_youcook2_mini"
    with pytest.MonkeyPatch.context() as patch, room_for_a_run(output):
        patch.chdir(place)
        assert main.main(["-c", "actbert_youcook2_mini.yaml"]) == 0


@pytest.fixture(scope="module")
def questions(place):
    """Weights of the recipes for multiple choice, blanks and open questions."""
    recipes = {
        "actbert_lsmdc_fib": ["--validate"],
        "actbert_activitynet_qa": ["--validate"],
        "actbert_youcook2_mini_fib": [],
        "actbert_youcook2_mini_mc": [],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for name, more in recipes.items():
            with room_for_a_run(place / "output" / name.replace("actbert", "ActBert")):
                assert main.main(["-c", f"{name}.yaml", *more]) == 0


@pytest.fixture(scope="module")
def captions(place):
    """Weights of the recipes for captions."""
    for name in ("youcook2_caption", "youcook2_mini_caption", "demo_caption"):
        output = place / "output" / f"ActBert_{name}"
        with pytest.MonkeyPatch.context() as patch, room_for_a_run(output):
            patch.chdir(place)
            assert main.main(["-c", f"actbert_{name}.yaml"]) == 0


@pytest.fixture(scope="module")
def salads(place):
    """Weights of the recipes for labels of seconds and for steps."""
    for name in ("salads50", "salads50_steps"):
        output = place / "output" / f"ActBert_{name}"
        with pytest.MonkeyPatch.context() as patch, room_for_a_run(output):
            patch.chdir(place)
            assert main.main(["-c", f"actbert_{name}.yaml"]) == 0


@pytest.fixture(scope="module")
def demo(place):
    """What the demo trains."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main.main(["-c", "actbert_demo.yaml"]) == 0
    trained = place / "output" / "ActBert_demo" / "ActBert_demo_epoch_00001"
    for suffix in (".pdparams", ".pdopt"):
        best = trained.with_name(f"ActBert_demo_best{suffix}")
        shutil.copy(trained.with_suffix(suffix), best)


@pytest.fixture(scope="module")
def videos(place):
    """Videos, their store, and a model that was trained on them."""
    train_on_videos(place)


@pytest.fixture(scope="module")
def resumable(place):
    """A run of the unchanged recipe: other commands have left runs with other settings."""
    with pytest.MonkeyPatch.context() as patch, room_for_a_run(place / "output" / "ActBert"):
        patch.chdir(place)
        assert main.main(["-c", "actbert.yaml"]) == 0


@pytest.fixture(scope="module")
def demo_clips(place):
    """A store of clips with captions where the demo writes its own."""
    write_store(place / "data" / "demo" / "clips.store", [make_clip(at) for at in range(12)])


#: What has to be there before a command or block that says so is run, wherever a test run begins.
NEEDED = {
    r"ActBert_two_stage(_best| )": "head",
    r"--model exported": "exported",
    r"train\.store": "packed",
    r"train\.tars": "tars",
    r"my\.store": "mine",
    r"ActBert_demo_best": "demo",
    r"data/demo/clips\.store": "demo_clips",
    r"--results output/ActBert": "tested",
    r"^paddlevideo compare": "compared",
    r"youcook2_mini_epoch_00016": "youcook2",
    r"--test.*(_fib|_qa|mini_mc)": "questions",
    r"-w output/\w+_caption/": "captions",
    r"--test.*salads50": "salads",
    r"main.py -c actbert.yaml .*resume": "resumable",
    r"pv\.load\(|extract videos .*--ray local": "videos",
}


def prepare(text: str, place: Path, request: pytest.FixtureRequest) -> None:
    """Makes what a command or a block needs."""
    for pattern, fixture in NEEDED.items():
        if re.search(pattern, text):
            request.getfixturevalue(fixture)
    for name, epoch in re.findall(r"output/(\w+)/\1_epoch_(\d+)\.pdparams", text):
        name_last_weights(place / "output" / name, int(epoch))


def name_last_weights(output: Path, epoch: int) -> None:
    """Gives the last weights here, of epoch 2, the name of those of the shipped recipe."""
    recipe = load_config(SHIPPED / f"{output.name.lower()}.yaml")
    assert (recipe.model_name, recipe.epochs) == (output.name, epoch), "not the last epoch"
    last, named = (output / f"{output.name}_epoch_{n:05d}.pdparams" for n in (2, epoch))
    if last != named:
        shutil.copy(last, named)


def cases() -> list[Any]:
    return [
        pytest.param(command, id=where, marks=[pytest.mark.slow] * runner(command)[1])
        for command, where in commands().items()
    ]


# ------------------------------------------------------------------------------- tests


@pytest.mark.parametrize("command", cases())
def test_a_command_runs(command, place, monkeypatch, request):
    run, _ = runner(command)
    prepare(command, place, request)
    assert run is not None, f"RUNS does not say how to run: {command}"
    monkeypatch.chdir(place)
    run(command, place)


@pytest.mark.parametrize(
    "block", list(blocks("python")), ids=lambda block: f"{block.page.name}:{block.line}"
)
def test_a_python_block_runs(block, place, monkeypatch, request):
    if block.file_name:
        pytest.skip("a module that a command imports")
    prepare(block.text, place, request)
    monkeypatch.chdir(place)
    exec(compile(block.text, f"{block.page.name}:{block.line}", "exec"), {})  # noqa: S102


@pytest.mark.parametrize(
    "block",
    # Those of other pages are checked by the tests in SCRIPTS.
    [block for block in blocks("yaml") if block.page.name not in {"networks.md", "operations.md"}],
    ids=lambda block: f"{block.page.name}:{block.line}",
)
def test_a_yaml_block_is_a_valid_configuration(block, place, monkeypatch):
    assert block.file_name, "its first line is a comment with its name"
    monkeypatch.chdir(place)
    for name in ("my.store", "videos.store"):  # what my_videos.yaml and actbert_videos.yaml name
        (place / "data" / name).mkdir(exist_ok=True)
    (place / "bert-base-chinese").mkdir(exist_ok=True)  # what chinese.yaml names
    (place / "bert-base-chinese/vocab.txt").touch()
    import_parts()
    config = load_config(block.file_name)
    own = {"DropRegions"}  # registered by a module that another test imports
    steps = config.PIPELINE.train.transform
    config.PIPELINE.train["transform"] = [step for step in steps if not own & step.keys()]
    assert check_config(config) == []


#: Configurations whose errors config.md shows, by the first words of the message.
MISTAKES = {
    "error: my.yaml:3: ": "_base_: actbert.yaml\nmodel_name: Mine\nepochs:20\n",
    "error: the configuration has ": "_base_: actbert.yaml\nmodel_name: Mine\nepochs: 1\n\n"
    "MODEL:\n  backbone:\n    hiden_size: 16\n\n"
    "DATASET:\n  batch_size: 4\n  train:\n    file_path: data/train.npy\n",
}


@pytest.mark.parametrize("start", MISTAKES)
def test_an_error_is_the_one_that_is_shown(start, place, tmp_path, monkeypatch, capsys):
    (shown,) = [block.text for block in blocks("text") if block.text.startswith(start)]
    for name in ("configs", "data"):
        (tmp_path / name).symlink_to(place / name)
    (tmp_path / "my.yaml").write_text(MISTAKES[start])
    monkeypatch.chdir(tmp_path)
    assert main.main(["-c", "my.yaml"]) == 2
    output = capsys.readouterr()
    errors = [line for line in shown.splitlines() if line.strip()]
    assert [line for line in errors if line not in output.out + output.err] == []


def test_every_block_is_run_or_checked():
    assert {block.language for block in blocks()} <= {"sh", "bash", "python", "yaml", "text"}
    scripts = Counter(block.page.name for block in blocks("bash"))
    assert scripts == {page: len(tests) for page, tests in SCRIPTS.items()}
    for page, tests in SCRIPTS.items():
        assert all(page in (ROOT / test).read_text("utf-8") for test in tests)
    shown = list(commands())
    assert {"make demo", "make test", "python main.py --test -w ActBERT.pdparams"} <= set(shown)


def test_no_entry_is_left_over():
    """Whatever says how a command is run, or why it is not, is there for one that is shown."""
    used = {runner(command)[0] for command in commands()}
    assert {run for _, run, _ in RUNS} | {check for _, _, check in NOT_RUN} == used


def test_an_unknown_command_fails():
    assert runner("python tools/no_such_tool.py --fast") == (None, False)


def test_the_readme_starts_with_what_a_user_needs():
    text = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(text) <= 220
    first = "\n".join(text[:32])
    for needed in ("make demo", "make test", "main.py -c ", "main.py --test -w ", "launch", "!["):
        assert needed in first, needed
