"""The documentation as a site: it builds without a warning and fetches nothing from elsewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from paddlevideo import registry
from paddlevideo.config import import_parts

pytest.importorskip("mkdocs", reason='needs the extra "docs"')
pytest.importorskip("mkdocstrings", reason='needs the extra "docs"')

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def build(config: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "mkdocs",
            "build",
            "--strict",
            "-f",
            config,
            "-d",
            folder,
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_first_page_is_the_readme_with_links_of_the_site(site):
    page = (site / "index.html").read_text("utf-8")
    assert 'id="your-own-videos"' in page
    for target in ("install.html", "images/demo_retrieval.png", "LICENSE.txt", "config.html"):
        assert f'"{target}' in page and (site / target).is_file(), target


def test_nothing_is_fetched_from_elsewhere(site):
    address = r"\s*[\"']?((?:https?:)?//[^\s\"'>)]+)"
    loads = r"<(?:script|link|img|iframe|source|video)\b[^>]*?(?:src|href)=" + address
    imports = r"(?:@import|url\()" + address
    pages, styles = list(site.rglob("*.html")), list(site.rglob("*.css"))
    assert len(pages) > 25 and styles
    assert [found for page in pages for found in re.findall(loads, page.read_text("utf-8"))] == []
    assert [found for css in styles for found in re.findall(imports, css.read_text("utf-8"))] == []


def test_every_part_and_public_name_is_in_the_reference(site):
    import paddlevideo

    import_parts()
    named = set()
    for page in (site / "api").glob("*.html"):
        named |= set(re.findall(r'<h\d id="([\w.]+)"', page.read_text("utf-8")))
    kinds = [kind for kind in vars(registry).values() if isinstance(kind, registry.Registry)]
    parts = [kind.get(name) for kind in kinds for name in kind]
    parts += [getattr(paddlevideo, name) for name in paddlevideo.__all__ if name[0] != "_"]
    dotted = {
        f"{part.__module__}.{part.__qualname__}"
        for part in parts
        if part.__module__.startswith("paddlevideo.")
    }
    assert len(dotted) > 40 and dotted <= named


def test_english_and_chinese_pages_can_be_searched(site):
    entries = json.loads((site / "search" / "search_index.json").read_text("utf-8"))["docs"]
    titles = {entry["title"].replace("\u200b", " ").strip(): entry for entry in entries}
    assert titles["Stop and resume"]["location"] == "training.html#stop-and-resume"
    assert "检  查  点" in titles
    assert '<html lang="zh-CN"' in (site / "zh" / "training.html").read_text("utf-8")


def test_a_broken_link_fails(tmp_path):
    """A site of two pages with the same settings."""
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    text = re.sub(r"^nav:\n(?: .*\n)+", "", text, flags=re.M)
    text = re.sub(r"^(hooks|plugins):.*\n(?: .*\n)*", "", text, flags=re.M)
    (tmp_path / "mkdocs.yml").write_text(text)
    (tmp_path / "docs" / "assets").mkdir(parents=True)
    (tmp_path / "docs" / "assets" / "site.css").touch()
    page = tmp_path / "docs" / "index.md"
    page.write_text("# Title\n\n[another](other.md#section)\n")
    other = tmp_path / "docs" / "other.md"
    for written, passes in (("# Other\n\n## Section\n", True), ("# Other\n", False)):
        other.write_text(written)
        done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
        assert (done.returncode == 0) == passes, done.stdout + done.stderr
