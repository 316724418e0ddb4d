"""The Chinese pages say what the English ones say: blocks, commands, names, numbers and links.

A page is compared block by block. Text is not: a changed sentence without a name, a number or a
link has to be noticed by a reader.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.test_docs_names import anchors

ROOT = Path(__file__).parents[1]
PAIRS = {page: ROOT / "docs" / page.name for page in sorted((ROOT / "docs" / "zh").glob("*.md"))}
PAIRS[ROOT / "README.zh-CN.md"] = ROOT / "README.md"
UNITS = {"million": 1e6, "thousand": 1e3, "billion": 1e9, "亿": 1e8, "万": 1e4}
BY_PAGE = {"argvalues": list(PAIRS), "ids": lambda page: page.name}


class Block(NamedTuple):
    """A heading, a fenced block, a row of a table, an item of a list, or a paragraph."""

    kind: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, without the line that leads to the other language."""
    found: list[Block] = []
    fence, last_blank = "", True
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        marker = re.match(r"```(\w*)", line)
        if fence:
            if marker:
                fence = ""
            else:
                found[-1] = found[-1]._replace(text=f"{found[-1].text}{line}\n")
            continue
        kind = kind_of(line)
        if marker:
            fence = f"``` {marker.group(1)}"
            found.append(Block(fence, "", number))
        elif not line.strip() or re.fullmatch(r"\[(English|简体中文)\]\(\S+\)", line):
            last_blank = True
            continue
        elif kind == "paragraph" and not last_blank and found[-1].kind in ("paragraph", "item"):
            found[-1] = found[-1]._replace(text=f"{found[-1].text} {line}")
        else:
            found.append(Block(kind, line, number))
        last_blank = False
    return found


def kind_of(line: str) -> str:
    if heading := re.match("#+ ", line):
        return heading.group().strip()
    if line.startswith("|"):
        return f"row of {len(cells(line))}"
    return "item" if re.match(r"- |\d+\. ", line) else "paragraph"


def cells(row: str) -> list[str]:
    return re.split(r"(?<!\\)\|", row.strip().strip("|"))


def facts(block: Block, page: Path) -> dict[str, object]:
    """What has to be equal in both languages."""
    if block.kind.startswith("```"):
        comment = r"(^|\s+)# .*" if block.kind != "``` text" else r"\Z"
        return {"code": [re.sub(comment, "", line) for line in block.text.splitlines()]}
    text = re.sub(r"\]\([^)]*\)", "]", block.text)
    code = r"`[^`]+`"
    first = cells(block.text)[0] if block.kind.startswith("row") else ""
    return {
        "names": sorted(set(re.findall(code, text))),
        "first column": sorted(re.findall(code, first)),
        "numbers": sorted(numbers(re.sub(code, "", text))),
        "links": sorted(map(str, links(block.text, page))),
    }


def numbers(text: str) -> set[str]:
    """Numbers as they are written, but for 2.06 亿, which is 206 million."""
    found = re.findall(rf"(\d+(?:[.,]\d+)*(?:e-?\d+)?)(?:\s?({'|'.join(UNITS)}))?", text)
    return {f"{float(value) * UNITS[unit]:g}" if unit else value for value, unit in found}


def links(text: str, page: Path) -> list[tuple[str, int]]:
    """Where links lead: an English page, and which of its headings."""
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        if name.startswith("https://"):
            found.append((target, 0))
            continue
        path = (page.parent / name).resolve() if name else page
        heading = anchors(path).index(anchor) + 1 if anchor else 0
        found.append((str(PAIRS.get(path, path).relative_to(ROOT)), heading))
    return found


@pytest.mark.parametrize("page", **BY_PAGE)
def test_a_page_is_in_step_with_the_english_one(page):
    compare(page, PAIRS[page])


def compare(page: Path, english: Path) -> None:
    ours, theirs = blocks(page), blocks(english)
    for own, other in zip(ours, theirs, strict=False):
        where = f"{page.name}:{own.line} and {english.name}:{other.line}"
        assert own.kind == other.kind, f"{where}:\n{own.text}\n{other.text}"
        assert facts(own, page) == facts(other, english), where
    assert len(ours) == len(theirs)


@pytest.mark.parametrize("page", **BY_PAGE)
def test_the_pages_lead_to_each_other(page):
    english = PAIRS[page]
    up = "../" * len(page.parent.relative_to(english.parent).parts)
    down = page.relative_to(english.parent).as_posix()
    assert f"\n[English]({up}{english.name})\n" in page.read_text("utf-8")
    assert f"\n[简体中文]({down})\n" in english.read_text("utf-8")


@pytest.mark.parametrize("page", **BY_PAGE)
def test_a_translated_page_leads_to_translated_pages(page):
    translated = {english: ours for ours, english in PAIRS.items()}
    text = re.sub(r"\[English\]\(\S+\)", "", page.read_text("utf-8"))
    names = {target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)}
    names = {name for name in names if name and not name.startswith("https://")}
    assert [name for name in names if (page.parent / name).resolve() in translated] == []


@pytest.mark.parametrize(
    "change",
    [
        ("stop: 3 ", "stop: 4 "),
        ("`--resume`", "`--overwrite`"),
        ("main.py", "other.py"),
        ("](other.md)", "](page.md)"),
        ("| `b` | 2 |", "| `b` | 5 |"),
        ("| `b` | 2 |\n", ""),
        ("## More\n", ""),
        ("A sentence.\n\n", "A sentence.\n\nAnother.\n\n"),
    ],
)
def test_a_difference_is_found(tmp_path, monkeypatch, change):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    text = (
        "# Page\n\nA sentence.\n\n## More\n\nstop: 3 with `--resume`, see [it](other.md)\n\n"
        "```sh\nmain.py # do it\n```\n\n| `a` | 1 |\n| `b` | 2 |\n"
    )
    for name in ("other.md", "page.md"):
        (tmp_path / name).write_text(text)
    ours = tmp_path / "ours.md"
    ours.write_text(text.replace("# do it", "# 运行").replace("A sentence", "一句话"))
    compare(ours, tmp_path / "page.md")
    (tmp_path / "page.md").write_text(text.replace(*change))
    assert text != text.replace(*change)
    with pytest.raises(AssertionError):
        compare(ours, tmp_path / "page.md")
