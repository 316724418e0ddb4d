"""What MkDocs cannot do by itself: the README as the first page, the API's pages, Chinese search.

These pages exist only in the site: the README is at the top of the repository, and the pages of the
API are lists of names whose text is in the docstrings.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import paddlevideo
from paddlevideo import loader, registry
from paddlevideo.config import import_parts
from paddlevideo.loader import store

ROOT = Path(__file__).parents[2]
#: Files at the top of the repository, by what they are called in the site.
TOP = {"index.md": "README.md", "zh/index.md": "README.zh-CN.md", "LICENSE.txt": "LICENSE"}
HAN = re.compile("[\u3400-\u9fff]")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are not in ``docs_dir``."""
    here = {page: ROOT / name for page, name in TOP.items()}
    pages = {page: file.read_text("utf-8") for page, file in here.items() if file.is_file()}
    for page, text in {**pages, **dict(api_pages())}.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Returns the text of a page, whose links lead to files of the repository, for the site."""
    name = page.file.src_uri
    source = TOP.get(name, f"docs/{name}")
    names = {file: page for page, file in TOP.items()}

    def link(found: re.Match[str]) -> str:
        path, mark, anchor = found[1].partition("#")
        if not path or ":" in path:
            return found[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        target = names.get(target, target.removeprefix("docs/"))
        return f"]({posixpath.relpath(target, posixpath.dirname(name) or '.')}{mark}{anchor})"

    return re.sub(r"\]\(([^)\s]+)\)", link, markdown)


def on_post_page(output: str, *, page: Page, **_: Any) -> str:
    """Returns a page that names its language, by which browsers choose the form of characters."""
    is_chinese = page.file.src_uri.startswith("zh/")
    return output.replace('<html lang="en"', '<html lang="zh-CN"', 1) if is_chinese else output


def on_post_build(config: MkDocsConfig, **_: Any) -> None:
    """Makes each Chinese character a word of the search, as the browser splits a query."""
    index = Path(config.site_dir) / "search" / "search_index.json"
    content = json.loads(index.read_text("utf-8"))
    for entry in content["docs"]:
        for key in ("title", "text"):
            entry[key] = HAN.sub("\u200b\\g<0>\u200b", entry[key])
    index.write_text(json.dumps(content, ensure_ascii=False), "utf-8")


def api_pages() -> Iterator[tuple[str, str]]:
    """Yields the pages of the API: every registered part and what the packages export."""
    import_parts()
    models = [registry.FRAMEWORKS, registry.BACKBONES, registry.HEADS, registry.LOSSES]
    data = [registry.DATASETS, registry.PIPELINES]
    bases = ["BaseFramework", "TaskHead", "heads.vectors.VectorHead"]
    pages = {
        "python": ("From Python", exported(paddlevideo)),
        "models": ("Models", [*(f"paddlevideo.modeling.{name}" for name in bases), *parts(models)]),
        "data": ("Data sets and steps", [*parts(data), *exported(loader)]),
        "store": ("Feature store", exported(store)),
        "metrics": ("Metrics", ["paddlevideo.metrics.Metric", *parts([registry.METRICS])]),
        "solver": ("Optimizers and schedules", parts([registry.OPTIMIZERS, registry.SCHEDULES])),
        "registry": ("Registry", ["paddlevideo.registry"]),
    }
    for page, (title, names) in pages.items():
        blocks = [f"::: {name}" for name in dict.fromkeys(names)]
        yield f"api/{page}.md", "\n\n".join([f"# {title}", *blocks]) + "\n"


def parts(kinds: Iterable[registry.Registry]) -> list[str]:
    """Returns the dotted names of registered classes."""
    return [dotted(kind.get(name)) for kind in kinds for name in kind]


def exported(package: ModuleType) -> list[str]:
    """Returns the dotted names of the classes and functions that a package exports."""
    parts = [getattr(package, name) for name in package.__all__]
    return [dotted(part) for part in parts if callable(part)]


def dotted(part: Any) -> str:
    """Returns the name of a class or function where it is defined."""
    return f"{part.__module__}.{part.__qualname__}"
