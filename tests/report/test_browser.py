"""The page in a real browser: it shows what it holds, and fits on a telephone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from paddlevideo.report import Hit, write_report, write_search_page
from tests.report.samples import query, results_of, some_queries

pytestmark = pytest.mark.slow
NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars"),
)
WORD = "w" * 400

#: What a telephone would see, told by a script that only the test adds to the page.
PROBE = """<script>
const root = document.documentElement, clip = document.querySelector(".clip0");
const outside = [...document.querySelectorAll("main *")].filter((each) =>
  !each.closest("svg, .wide, .unseen") && each.getBoundingClientRect().right > innerWidth);
const table = document.querySelector(".wide");
parent.postMessage({
  width: innerWidth, needed: root.scrollWidth, outside: outside.map((each) => each.className),
  table: [table.clientWidth, table.scrollWidth],
  picture: getComputedStyle(clip).backgroundImage.slice(0, 10),
  page: getComputedStyle(document.body).backgroundColor,
}, "*");
</script>"""
FRAME = """<!DOCTYPE html><pre></pre><script>
addEventListener("message", (event) => {
  document.querySelector("pre").textContent = JSON.stringify(event.data);
});
</script><iframe src="probe.html" style="border: 0; width: 360px; height: 900px"></iframe>"""


@pytest.fixture(scope="module")
def browse(tmp_path_factory):
    """Runs the browser over a file and returns what it prints."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser here: none of {', '.join(NAMES)}")
    profile = tmp_path_factory.mktemp("profile")

    def run(page, *options):
        command = [program, *QUIET, f"--user-data-dir={profile}", *options, page.as_uri()]
        done = subprocess.run(command, capture_output=True, timeout=120, check=True)
        return done.stdout.decode("utf-8")

    return run


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    cv2 = pytest.importorskip("cv2")
    folder = tmp_path_factory.mktemp("page")
    (folder / "clips").mkdir()
    for number in range(10):
        picture = np.full((60, 80, 3), (20 * number, 200, 250 - 20 * number), np.uint8)
        cv2.imwrite(str(folder / "clips" / f"clip{number}.png"), picture)
    long = [query(90, way, query=WORD, right=[WORD]) for way in ("text_to_video", "video_to_text")]
    queries = [*some_queries(20), *long]
    results = {
        **results_of(queries),
        "dual_softmax": results_of(queries),
        "first_stage": {"text_to_video": {"R@1": 1.0, "R@128": 99.0}},
        "protocol": {"weights": WORD, "videos": 20},
    }
    write_report(folder / "report.html", results, queries, folder / "clips")
    return folder / "report.html"


def test_the_browser_builds_what_was_written(browse, page):
    dom = browse(page, "--dump-dom")
    text = page.read_text("utf-8")
    for mark in (
        "<tr",
        "<li",
        "<svg",
        "<rect",
        "<polyline",
        "<h2",
        "<h3",
        "✓ correct",
        'role="img"',
    ):
        assert dom.count(mark) == text.count(mark) > 0
    assert "R@128" in dom


def test_the_page_is_not_blank_and_shows_its_pictures(browse, page, tmp_path):
    import cv2

    browse(page, f"--screenshot={tmp_path / 'page.png'}", "--window-size=1200,2000")
    pixels = cv2.imread(str(tmp_path / "page.png"))
    assert pixels.shape == (2000, 1200, 3)
    colours = np.unique(pixels.reshape(-1, 3), axis=0)
    assert len(colours) > 100
    # The green of the clips comes through, which the style sheet itself has nowhere.
    assert (np.abs(pixels.astype(int) - (100, 200, 150)).sum(axis=2) < 12).sum() > 1000


def test_nothing_sticks_out_on_a_narrow_screen(browse, page, tmp_path):
    text = page.read_text("utf-8").replace("default-src", "script-src 'unsafe-inline'; default-src")
    (tmp_path / "probe.html").write_text(text.replace("</body>", PROBE + "</body>"), "utf-8")
    (tmp_path / "frame.html").write_text(FRAME)
    dom = browse(tmp_path / "frame.html", "--dump-dom", "--virtual-time-budget=5000")
    seen = json.loads(re.search(r"<pre>(.*?)</pre>", dom, re.DOTALL)[1].replace("&quot;", '"'))
    assert seen["width"] == 360
    assert seen["needed"] <= 360
    assert seen["outside"] == []
    assert seen["table"][1] <= seen["table"][0]
    # Both need the style sheet, so its checksum in the page's policy is right.
    assert seen["picture"] == 'url("data:'
    assert seen["page"] != "rgba(0, 0, 0, 0)"


def test_a_search_page_fits_on_a_narrow_screen(browse, page, tmp_path):
    hits = [Hit("clip0", 1.5, [WORD, "\u0642\u0637\u0629 " * 40]), Hit(WORD, -1.0)]
    write_search_page(tmp_path / "x.html", {WORD: hits, "<b>": hits}, page.parent / "clips")
    text = (tmp_path / "x.html").read_text("utf-8")
    text = text.replace("default-src", "script-src 'unsafe-inline'; default-src", 1)
    probe = """<script>
        parent.postMessage({needed: document.documentElement.scrollWidth}, "*");
    </script></body>"""
    (tmp_path / "probe.html").write_text(text.replace("</body>", probe), "utf-8")
    (tmp_path / "frame.html").write_text(FRAME)
    dom = browse(tmp_path / "frame.html", "--dump-dom", "--virtual-time-budget=5000")
    assert '{"needed":360}' in dom.replace("&quot;", '"')
