"""The search page in a real browser: typing, playing, going back, on every screen."""

from __future__ import annotations

import shutil
import socket
import threading
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from tests.report.test_browser import NAMES

pytestmark = pytest.mark.slow
playwright = pytest.importorskip("playwright.sync_api")

TELEPHONE, WIDE = {"width": 400, "height": 800}, {"width": 1600, "height": 1000}


@pytest.fixture(scope="module")
def browser():
    """The browser of the system."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser here: none of {', '.join(NAMES)}")
    with playwright.sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        started = driver.chromium.launch(executable_path=program, args=flags)
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(client):
    """The address of a server in a thread of this process."""
    import uvicorn

    with socket.create_server(("127.0.0.1", 0)) as bound:
        config = uvicorn.Config(client.app, lifespan="off", log_level="warning", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"
        server.should_exit = True
        thread.join(10)


@contextmanager
def page_of(browser, screen=WIDE, **more):
    """A page, which must end without a complaint of the browser about scripts or its policy."""
    context = browser.new_context(viewport=screen, **more)
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert [each for each in complaints if "Failed to load resource" not in each] == []


def wait_for(page, condition):
    """Waits until a script gives true; Playwright's own way is against the page's policy."""
    for _ in range(300):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(condition)


def cards(page):
    return page.locator("#hits > li")


def fits(page):
    """Whether nothing needs scrolling sideways."""
    return page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("screen", [TELEPHONE, WIDE], ids=["telephone", "wide"])
def test_type_play_go_back(browser, address, screen, tmp_path):
    with page_of(browser, screen) as page:
        page.goto(address)
        assert page.evaluate("document.activeElement.id") == "text" and fits(page)
        page.keyboard.type("a dog")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{address}?text=a+dog")
        assert cards(page).count() == 7 and fits(page)
        columns = {card.bounding_box()["x"] for card in cards(page).all()}
        assert len(columns) == (1 if screen is TELEPHONE else 5)

        # The first player: one second of three, from the first on.
        video = page.locator("video").first
        page.locator("button.play").first.click()
        wait_for(page, "document.querySelector('video').currentTime > 1.2")
        assert video.evaluate("video => video.controls && !video.error")
        wait_for(page, "document.querySelector('video').paused")
        assert 1.8 < video.evaluate("video => video.currentTime") < 2.4
        video.evaluate("video => video.play()")
        wait_for(page, "document.querySelector('video').currentTime < 1.8")
        assert page.locator("button.play").count() == 4

        page.screenshot(path=tmp_path / "page.png")
        pixels = cv2.imread(str(tmp_path / "page.png"))
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
        grey = np.abs(pixels.astype(int) - 110).max(axis=2) < 8  # what the clips show
        assert grey.sum() > 20_000

        page.locator("a.like").first.click()
        assert "like=video" in page.url and cards(page).count() == 6 and fits(page)
        page.go_back()
        assert page.url == f"{address}?text=a+dog" and cards(page).count() == 7
        assert page.locator("form button").inner_text() == "Search"
        page.go_back()
        assert page.url == address and page.locator("#text").input_value() == ""


def test_more_is_added_and_the_address_can_be_shared(browser, address):
    with page_of(browser) as page:
        page.goto(f"{address}?text=a+dog&shown=2")
        page.get_by_role("link", name="Show more").focus()
        page.keyboard.press("Enter")
        wait_for(page, "document.querySelectorAll('#hits > li').length == 7")
        assert page.evaluate("document.activeElement.id") == "name-3", "where reading continues"
        assert page.get_by_text("7 of 7 clips shown").count() == 1
        assert page.locator("button.play").count() == 5
        names = page.locator("#hits h2").all_inner_texts()
        page.goto(page.url)  # as one with whom the address is shared
        assert page.locator("#hits h2").all_inner_texts() == names


def test_filters_and_keys(browser, address):
    with page_of(browser) as page:
        page.goto(f"{address}?like=video1")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.id") == "text"
        page.keyboard.type("red soup")
        page.get_by_label("Folder").select_option("soups")
        page.get_by_label("by similarity alone").check()
        page.get_by_role("button", name="Search").click()
        page.wait_for_url(f"{address}?text=red+soup&folder=soups&match=0")
        assert cards(page).count() == 3 and page.get_by_label("Folder").input_value() == "soups"
        page.get_by_text("not matched").first.click()
        assert page.get_by_text("it was not among the most similar").first.is_visible()
        # Names for a screen reader.
        assert page.get_by_role("search").count() == page.get_by_role("main").count() == 1
        assert page.get_by_role("button", name="Play 1. ").count() == 1
        assert page.get_by_role("article", name="1. ").count() == 1


def test_without_scripts_all_but_comfort_works(browser, address):
    with page_of(browser, TELEPHONE, java_script_enabled=False) as page:
        page.goto(address)
        page.get_by_label("What happens in the clip?").fill("a dog")
        page.get_by_role("button", name="Search").click()
        assert cards(page).count() == 7 and page.locator("video[controls]").count() == 5
        page.goto(f"{address}?text=a+dog&shown=2")
        page.get_by_role("link", name="Show more").click()
        assert cards(page).count() == 7


def test_a_video_that_does_not_play_says_so(browser, address, project):
    path = project.videos / "soups" / "film 0.webm"
    content = path.read_bytes()
    path.write_bytes(b"\x1aE\xdf\xa3" + bytes(3000))
    try:
        with page_of(browser) as page:
            page.goto(f"{address}?text=a+dog")
            card = page.locator("article", has_text="number 0")
            card.locator("button.play").click()
            card.get_by_text("This browser cannot play the video").wait_for()
    finally:
        path.write_bytes(content)


def test_every_state_fits_and_follows_the_scheme(browser, address):
    long = "w" * 400
    states = ["", "?text=a+dog&folder=none", f"?text={long}", "nothing", "?text=%F0%9F%98%80"]
    shades = {"light": "rgb(245, 246, 248)", "dark": "rgb(16, 18, 22)"}
    for screen in (TELEPHONE, WIDE):
        with page_of(browser, screen) as page:
            for state in states:
                page.goto(address + state)
                assert fits(page), state
                for scheme, shade in shades.items():
                    page.emulate_media(color_scheme=scheme)
                    shown = page.evaluate("getComputedStyle(document.body).backgroundColor")
                    assert shown == shade, state


def test_the_page_waits_for_the_index_and_continues(browser, address, client):
    engine = client.site.engine
    searcher, engine.searcher, engine.indexed = engine.searcher, None, (3, 7)
    try:
        with page_of(browser, TELEPHONE) as page:
            page.goto(f"{address}?text=a+dog")
            assert page.get_by_text("3 of 7 clips").is_visible() and fits(page)
            engine.indexed = (5, 7)
            page.get_by_text("5 of 7 clips").wait_for()
            engine.searcher = searcher
            page.locator("#hits").wait_for()
            assert page.url == f"{address}?text=a+dog"
    finally:
        engine.searcher = searcher
