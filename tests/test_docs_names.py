"""What the pages name in back-ticks exists, and every link leads somewhere."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import yaml

from paddlevideo import registry
from paddlevideo.cli import VERBS
from paddlevideo.config import import_parts
from paddlevideo.config.settings import (
    AccumulationSettings,
    AmpSettings,
    DatasetSettings,
    RunSettings,
)

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: Compared with the English ones by tests/test_chinese_pages.py.
CHINESE = [ROOT / "README.zh-CN.md", *sorted((ROOT / "docs" / "zh").glob("*.md"))]
#: The changes tell of names that are gone.
CURRENT = [page for page in PAGES if page.name != "CHANGELOG.md"]
BY_PAGE = {"argvalues": CURRENT, "ids": lambda page: page.name}

SECTIONS = {"MODEL", "DATASET", "PIPELINE", "OPTIMIZER", "METRIC", "GRADIENT_ACCUMULATION"}
STRUCTURE = {"_base_", "_replace_", "framework", "format", "name", "value", "match", "scale"}
STRUCTURE |= {"train", "valid", "test", "transform", "backbone", "loss", "retrieval_head"}
#: PaddleVideo's sections that are refused.
REFUSED = {"MIX", "PRECISEBN", "EMA", "AMP"}
#: Folders that a run writes.
WRITTEN = {"tensorboard/", "visualdl/", "exported/", "profile/", "search_index/"}
#: Options of ``paddle.distributed.launch`` and of the linear baseline's environment.
LAUNCHER = {"--gpus", "--nproc_per_node", "--nnodes", "--master", "--max_restart"}
LAUNCHER |= {"--elastic_timeout", "--signal", "--rank"}
#: Words that are not this project's, and placeholders.
FOREIGN = {
    *("etcd", "etcd3", "ffmpeg", "nvidia", "smi", "shm", "SBATCH", "USR1", "venv", "python3"),
    *("PADDLE_ELASTIC_", "_LEVEL", "_TIMEOUT", "use_multi_tensor", "incubate", "substring"),
    *("ssh", "srun", "scontrol", "SIGTERM", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "eth0"),
    *("NCCL_DEBUG", "NVIDIA_TF32_OVERRIDE", "Waiting", "peer", "INFO", "IMAGE", "TERM"),
    *("srt", "jpg", "mp4", "avi", "sub", "my", "mean", "Pod", "workerlog", "onnxruntime"),
    *("pytorch_model", "pt", "pth", "torch", "curl", "httpHeaders", "search", "Restart"),
    *("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"),
    *(
        "vid_key",
        "x",
        "y",
        "a",
        "b",
        "k",
        "q",
        "m",
        "S",
        "id",
        "S1",
        "FILE",
        "FOLDER",
        "NAME",
        "OPTIONS",
    ),
}


def spans(page: Path) -> Iterator[str]:
    """What a page has in back-ticks outside its blocks."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S)
    yield from dict.fromkeys(re.findall(r"`([^`\n]+)`", text))


@cache
def source() -> str:
    """The text of all that the pages may describe."""
    files = [*ROOT.glob("paddlevideo/**/*.py"), *ROOT.glob("tools/**/*.*[hy]")]
    files += [*ROOT.glob("configs/**/*.*"), ROOT / "setup.py", ROOT / "pyproject.toml"]
    files += [ROOT / "Makefile", ROOT / "requirements.txt"]
    return "\n".join(file.read_text("utf-8") for file in files)


@cache
def words() -> set[str]:
    return set(re.findall(r"\w+", source())) | FOREIGN


@cache
def parts() -> dict[str, Any]:
    """The package's registered classes by name."""
    import_parts()
    kinds = [kind for kind in vars(registry).values() if isinstance(kind, registry.Registry)]
    return {
        name: kind.get(name)
        for kind in kinds
        for name in kind
        if kind.get(name).__module__.startswith("paddlevideo.")
    }


@cache
def keys() -> set[str]:
    """Every key that a YAML file may have."""
    known = set(STRUCTURE)
    for settings in (RunSettings, AmpSettings, DatasetSettings, AccumulationSettings):
        known |= {field.name for field in dataclasses.fields(settings)}
    for part in parts().values():
        known |= set(inspect.signature(part).parameters)
    for file in ROOT.glob("configs/**/*.yaml"):
        known |= set(keys_of(yaml.safe_load(file.read_text("utf-8"))))
    return known


def keys_of(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        yield from tree
    for child in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(child, dict | list):
            yield from keys_of(child)


@pytest.mark.parametrize("page", **BY_PAGE)
def test_every_word_is_known(page):
    unknown = {}
    for span in spans(page):
        # Paths have a test of their own; a run's files are named after its model.
        rest = re.sub(r"(?:[\w.]+/)+[\w.-]*\.(py(:[\w.]+)?|npz|txt|yaml)|\.ci/run", "", span)
        rest = re.sub(r"(ActBert)?_(epoch|step)_\d+|ActBert_best|--\w+|\w+\.toml", "", rest)
        for word in re.findall(r"[^\W\d]\w*", rest):
            if word.strip("_") not in words() and word not in words():
                unknown[span] = word
    assert not unknown


@pytest.mark.parametrize("page", **BY_PAGE)
def test_every_option_exists(page):
    options = set(re.findall(r"""["'](--?[a-z]\w*)["']""", source())) | LAUNCHER
    options |= {"-h", "--help"}
    for span in spans(page):
        asked = set(re.findall(r"(?:^|\s)(--?[a-z]\w*)", span))
        if not span.startswith(("python -m", "pip", "PYTEST_ARGS")):
            assert asked <= options, span


@pytest.mark.parametrize("page", **BY_PAGE)
def test_every_path_exists(page):
    top = r"\.ci/|paddlevideo/|tests/|tools/|configs/|docs/"
    for span in spans(page):
        for path in re.findall(rf"(?:^|\s)((?:{top})[\w./-]*)", span):
            assert (ROOT / path).exists(), path
        if re.fullmatch(r"actbert\w*\.yaml", span):
            assert (ROOT / "configs" / "multimodal" / "actbert" / span).exists(), span
        elif re.fullmatch(r"extract/\w+\.yaml", span):
            assert (ROOT / "configs" / span).exists(), span
        elif path := re.fullmatch(r"([\w/]+\.py|\w+/)(:[\w.]+)?", span):
            homes = (ROOT, ROOT / "paddlevideo")
            is_there = any((home / path.group(1)).exists() for home in homes)
            assert is_there or path.group(1) in WRITTEN, span


@pytest.mark.parametrize("page", **BY_PAGE)
def test_every_key_exists(page):
    for span in spans(page):
        inside = re.sub(r"^-o ", "", span)
        dotted = re.fullmatch(
            r"([A-Z_]{4,}|amp|regions|actions|clips)((?:\.[\w@]+)+)(?:[=:].*)?", inside
        )
        if dotted and dotted.group(1) in SECTIONS | {"amp", "regions", "actions", "clips"}:
            path = dotted.group(2)[1:].split(".")
            assert all(key in keys() or key in parts() or key.isdigit() for key in path), span
        elif single := re.fullmatch(r"(?:- )?([A-Za-z_]\w*):(?: (.*))?", inside):
            key, text = single.groups()
            known = keys() | SECTIONS | REFUSED | parts().keys() | {"error"}
            assert key in known, span
            if key in {"name", "framework", "format"} and text:
                assert text in parts(), span
        elif assigned := re.fullmatch(r"([a-z_]+)=(?!=).*", inside):
            assert assigned.group(1) in keys(), span


@pytest.mark.parametrize("page", **BY_PAGE)
def test_every_class_module_and_command_exists(page):
    classes = set(re.findall(r"class (\w+)", source())) | set(
        re.findall(r"^(\w+) = ", source(), re.M)
    )
    paddle = {"ClipGradByGlobalNorm", "ClipGradByNorm", "ClipGradByValue"}
    for span in spans(page):
        if re.fullmatch(r"paddlevideo(\.\w+)+", span):
            resolve_name(span)
        elif re.fullmatch(r"[A-Z][a-z]+[A-Z]\w+", span):
            literal = f'"{span}"' in source()  # such as MedianR, a key of results.json
            assert span in parts() or span in classes or span in paddle or literal, span
        elif verb := re.match(r"paddlevideo (\w+)", span):
            assert verb.group(1) in VERBS, span
        elif target := re.fullmatch(r"make ([\w-]+)", span):
            makefile = (ROOT / "Makefile").read_text("utf-8")
            assert re.search(rf"^{target.group(1)}:", makefile, re.M), span


def test_every_message_exists():
    """Those of install.md, but for values in them, which are told apart by digits and quotes."""
    table = (ROOT / "docs" / "install.md").read_text("utf-8").partition("| message |")[2]
    rows = [row for row in table.splitlines() if row.startswith("| `")]
    ours = [row.split("`")[1] for row in rows if "from the launcher" not in row]
    assert len(ours) == 5
    code = re.sub(r'"\s*f?"', "", source())
    for message in ours:
        parts = re.split(r'\d+|"[^"]*"|\.\.\. ', message)
        assert all(part in code for part in parts if part.strip()), message


@pytest.mark.parametrize("page", [*PAGES, *CHINESE], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path), target


def anchors(path: Path) -> list[str]:
    """The anchors of a page's headings, in order."""
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


def test_every_page_is_linked_from_the_readme():
    text = PAGES[0].read_text("utf-8")
    assert [page.name for page in PAGES[1:] if f"](docs/{page.name}" not in text] == []


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (test_every_word_is_known, "`no_such_word`"),
        (test_every_option_exists, "`--no_such_option`"),
        (test_every_path_exists, "`tests/no_such_test.py`"),
        (test_every_key_exists, "`MODEL.no_such_key`"),
        (test_every_key_exists, "`no_such_key: 1`"),
        (test_every_class_module_and_command_exists, "`paddlevideo nosuchverb`"),
        (test_every_class_module_and_command_exists, "`NoSuchClass`"),
        (test_links_lead_somewhere, "[a page](no_such_page.md)"),
        (test_links_lead_somewhere, "# Title\n[a section](#no-such-section)"),
    ],
)
def test_a_name_that_is_not_there_fails(check, text, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(AssertionError):
        check(page)
