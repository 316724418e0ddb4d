"""The page and the JSON API of ``paddlevideo serve``: what is found, and how it is shown."""

import asyncio
import html
import re
import threading
import time
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from paddlevideo.serve import engine as engine_module
from paddlevideo.serve.engine import Busy, Engine, Limits, SearchRequest
from paddlevideo.serve.folders import Folders
from paddlevideo.serve.guard import HEADERS
from paddlevideo.serve.hits import second
from paddlevideo.utils.errors import DataError
from tests.serve.conftest import VIDEOS


def found(client, **asked):
    answer = client.get("/api/search", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_sentence_finds_what_the_searcher_finds(client):
    answers = client.site.engine.searcher.find("a dog", 4)
    result = found(client, text="a  dog ", best=VIDEOS)
    assert result["text"] == "a dog" and result["total"] == VIDEOS and result["match"] == 4
    clips = result["clips"]
    assert [clip["clip"] for clip in clips[:4]] == [answer.clip for answer in answers]
    for clip, answer in zip(clips, answers, strict=False):
        assert clip["score"] == pytest.approx(answer.score, abs=1e-5)
        assert clip["score"] == pytest.approx(clip["margin"] + clip["similarity"], abs=1e-4)
    assert [clip["rank"] for clip in clips] == list(range(1, VIDEOS + 1))
    assert result["next"] is None


def test_those_that_are_not_matched_follow_by_similarity(client):
    clips = found(client, text="a dog", best=VIDEOS)["clips"]
    rest = clips[4:]
    assert all(clip["score"] is None and clip["margin"] is None for clip in rest)
    similarities = [clip["similarity"] for clip in rest]
    assert similarities == sorted(similarities, reverse=True)
    assert max(similarities) <= min(clip["similarity"] for clip in clips[:4])
    alone = found(client, text="a dog", match=0, best=VIDEOS)["clips"]
    assert all(clip["margin"] is None for clip in alone)
    similarities = [clip["similarity"] for clip in alone]
    assert similarities == sorted(similarities, reverse=True)


def test_the_next_clips_continue_the_same_order(client):
    everything = found(client, text="red soup", best=VIDEOS)["clips"]
    address, clips = "/api/search?text=red%20soup&best=3", []
    while address:
        result = client.get(address).json()
        clips += result["clips"]
        address = result["next"]
    assert clips == everything


def test_clips_like_one_are_ordered_by_the_cosine_of_their_vectors(client):
    result = found(client, like="video2", best=VIDEOS)
    searcher = client.site.engine.searcher
    vectors = searcher.index.take(np.arange(VIDEOS))
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = dict(zip(searcher.clips, vectors @ vectors[searcher.position("video2")], strict=True))
    del cosines["video2"]
    wanted = sorted(cosines, key=lambda clip: -cosines[clip])
    assert [clip["clip"] for clip in result["clips"]] == wanted
    assert result["total"] == VIDEOS - 1
    assert result["clips"][0]["similarity"] == pytest.approx(cosines[wanted[0]], abs=1e-5)
    assert client.get("/api/search", params={"like": "nothing"}).status_code == 404


def test_folders_are_filters_with_those_below_them(client):
    assert client.get("/api/folders").json() == [
        {"folder": "dogs", "clips": 4},
        {"folder": "soups", "clips": 3},
        {"folder": "soups/red", "clips": 1},
    ]
    for folder, count in (("dogs", 4), ("soups", 3), ("soups/red", 1), ("soup", 0)):
        result = found(client, text="a dog", folder=folder, best=VIDEOS)
        assert result["total"] == count == len(result["clips"])
        assert all(clip["folder"].startswith(folder) for clip in result["clips"])
    inside = found(client, text="a dog", folder="dogs")["clips"]
    assert sum(clip["margin"] is not None for clip in inside) == 4, "the best of the folder"
    assert "No clips here" in client.get("/?text=a+dog&folder=cats").text


def test_folders_of_sources():
    folders = Folders(["/a/b/x.mp4", "", "/a/c/d/y.mp4", "/a/z.mp4"])
    assert [folders.of(clip) for clip in range(4)] == ["b", "", "c/d", ""]
    assert folders.counts() == [("b", 1), ("c", 1), ("c/d", 1)]
    assert folders.mask("c").tolist() == [False, False, True, False]
    assert Folders(["", ""]).counts() == [] == Folders([]).counts()
    assert Folders(["x/1.mp4", "/y/2.mp4"]).of(0) == "x"


def test_a_clip_is_described(client):
    clip = client.get("/api/clips/about", params={"id": "video1"}).json()
    assert clip["start"] == 1.0 and clip["end"] == 2.0 and clip["folder"] == "soups"
    assert clip["video"] == "film 1.webm" and clip["captions"][0].endswith("number 1")
    assert client.get(clip["video_url"]).headers["content-type"] == "video/webm"
    picture = client.get(clip["picture_url"])
    assert picture.headers["content-type"] == "image/jpeg" and picture.content[:2] == b"\xff\xd8"
    import cv2

    shown = cv2.imdecode(np.frombuffer(picture.content, np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == (360, 480, 3) and abs(shown.mean() - 110) < 8, "its second second"
    assert client.get("/api/clips/about", params={"id": "x"}).status_code == 404


@pytest.mark.parametrize(
    ("clip", "reason"), [("video5", ".avi files"), ("video6", "the codec FMP4"), ("video0", "")]
)
def test_what_browsers_do_not_play_is_a_picture_and_says_so(client, clip, reason):
    about = client.get("/api/clips/about", params={"id": clip}).json()
    assert reason in about["silent"] and (about["video_url"] is None) == bool(reason)
    assert client.get(about["picture_url"]).status_code == 200
    page = client.get("/", params={"text": "a dog"}).text
    [card] = re.findall(rf"<li class=[^>]*>(?:(?!</li>).)*number {clip[-1]}\b.*?</li>", page, re.S)
    assert ("<video" in card) == (not reason) and (
        f"Not played here: {about['silent']}" in card
    ) == (bool(reason))


def test_the_page_plays_each_clip_within_its_span(client):
    page = client.get("/", params={"text": "a dog"}).text
    assert page.count("<li class=") == VIDEOS and page.count("<video") == VIDEOS - 2
    assert page.count("#t=1,2") == VIDEOS - 2
    assert "0:01\u20130:02" in page
    assert 'value="a dog"' in page and "<title>a dog" in page


def test_scores_are_explained_in_words(client):
    page = client.get("/", params={"text": "a dog"}).text
    best = found(client, text="a dog")["clips"][0]
    likely = 1 / (1 + np.exp(-best["margin"]))
    assert f"{likely:.0%} for a match" in page
    assert f"{best['margin']:.2f} + 1 \u00d7 {best['similarity']:.2f}" in page
    assert page.count("not matched</span>") == 3, "the clips after the fourth"
    assert "1 is the same direction" in client.get("/?like=video1").text


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, "7 clips searched; the 4 most similar were matched with the sentence"),
        ({"folder": "dogs"}, "4 clips searched, each matched with the sentence"),
        ({"folder": "soups/red"}, "1 clip searched, each matched with the sentence"),
        ({"match": 0}, "7 clips searched, ordered by similarity alone"),
    ],
)
def test_the_page_says_how_clips_were_compared(client, asked, told):
    page = client.get("/", params={"text": "a dog", **asked}).text
    assert f"{told}.</p>" in " ".join(page.split())


def test_behind_the_last_clip_there_are_no_more(client):
    added = client.get("/", params={"text": "a dog", "from": VIDEOS}).text
    assert "<li" not in added and "data-fragment" not in added


def test_more_clips_have_addresses_that_can_be_shared(client):
    """Without a script, the link leads to a page with more clips; with one, only they are sent."""
    page = client.get("/", params={"text": "a dog", "folder": "dogs", "shown": 2}).text
    [link] = re.findall(r'class="button" href="([^"]+)" data-fragment="([^"]+)"', page)
    following, fragment = (html.unescape(address) for address in link)
    assert parse_qs(urlsplit(following).query) == {
        "text": ["a dog"],
        "folder": ["dogs"],
        "shown": ["26"],
    }
    first = re.findall(r'<h2 id="name-\d".*?</h2>', page)
    whole = re.findall(r'<h2 id="name-\d".*?</h2>', client.get(following).text)
    added = client.get(fragment).text
    assert len(first) == 2 and first + re.findall(r'<h2 id="name-\d".*?</h2>', added) == whole
    assert "<html" not in added and "4 of 4 clips shown" in added and "data-fragment" not in added


def test_the_first_page_says_what_to_do(client):
    page = client.get("/").text
    assert f"Search {VIDEOS} clips" in page and "<select" in page and page.count("<li>") == 4
    examples = re.findall(r'<li><a href="([^"]+)"', page)
    assert client.get(html.unescape(examples[0])).status_code == 200


def test_nothing_is_loaded_from_elsewhere_and_all_is_escaped(client):
    text = '<script>alert(1)</script>" onfocus="x a dog'
    answer = client.get("/", params={"text": text})
    assert answer.status_code == 200 and "<script>alert" not in answer.text
    assert 'onfocus="x' not in answer.text
    for name, value in HEADERS.items():
        assert answer.headers[name] == value
    assert "unsafe" not in HEADERS["content-security-policy"]
    pages = [answer.text, client.get("/").text, client.get("/none").text]
    pages += [client.get("/?like=video1").text, client.site.pages.indexing((3, 9))]
    for page in pages:
        assert not re.search(r'https?:|(src|href)=\"//|style=|<style|"\s+on\w+=', page)
        for address in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
            file = client.get(html.unescape(address))
            assert file.status_code == 200 and "http:" not in file.text.replace(
                "http://www.w3.org", ""
            )
    assert client.get("/docs").status_code == client.get("/redoc").status_code == 404


def test_the_api_is_described(client):
    description = client.get("/openapi.json").json()
    paths = description["paths"]
    assert set(paths) == {
        *("/api/search", "/api/health", "/api/folders"),
        *(f"/api/clips/{name}" for name in ("about", "picture", "video")),
    }
    asked = {each["name"]: each for each in paths["/api/search"]["get"]["parameters"]}
    assert set(asked) == {"text", "like", "folder", "match", "best", "from"}
    ranked = description["components"]["schemas"]["Ranked"]["properties"]
    assert set(found(client, text="a dog")["clips"][0]) == set(ranked)
    results = description["components"]["schemas"]["Results"]["properties"]
    assert set(found(client, text="a dog")) == set(results)
    state = client.get("/api/health").json()
    assert state == {"status": "ready", "indexed": VIDEOS, "clips": VIDEOS, "waiting": 0}
    assert set(state) == set(description["components"]["schemas"]["Health"]["properties"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "Give text"),
        ({"text": "  "}, "Give text"),
        ({"text": "a", "like": "video1"}, "not both"),
        ({"text": "a" * 501}, "at most 500 characters"),
        ({"text": "a dog", "best": "0"}, "best: "),
        ({"text": "a dog", "best": "101"}, "best: "),
        ({"text": "a dog", "best": "x"}, "best: "),
        ({"text": "a dog", "from": "-1"}, "from: "),
        ({"text": "a dog", "from": "100000"}, "from: "),
        ({"text": "\U0001f600"}, "knows none of these words"),
        ({"text": "a dog", "match": "-1"}, "match: "),
    ],
)
def test_a_mistake_is_one_line(client, asked, message):
    answer = client.get("/api/search", params=asked)
    assert answer.status_code == 400 and message in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    if asked and asked["text"].strip() and "best" not in asked:
        page = client.get("/", params=asked)
        assert page.status_code == 400 and html.escape(message)[:12] in page.text


def test_unknown_words_are_told_with_the_results(client):
    result = found(client, text="red \u6d0b soup")
    assert "does not know some" in result["warning"]
    assert "does not know some" in client.get("/", params={"text": "red \u6d0b soup"}).text


def test_without_a_head_every_clip_is_matched_and_none_is_like_another(serving):
    client = serving("-o", "MODEL.retrieval_head=null")
    clips = found(client, text="a dog", match=0)["clips"]
    assert len(clips) == VIDEOS and all(clip["margin"] is not None for clip in clips)
    answer = client.get("/api/search", params={"like": "video1"})
    assert answer.status_code == 400 and "retrieval head" in answer.json()["error"]
    page = client.get("/?text=a+dog").text
    assert "More like this" not in page and "each matched with the sentence" in page


def test_without_videos_there_are_no_players(serving, project):
    options = ["--features", str(project.folder / "plain")]
    client = serving(*options, "--videos", str(project.folder))
    client.site.clips._videos = None
    page = client.get("/?text=a+dog").text
    assert page.count("<li class=") == VIDEOS and "<video" not in page and "<img" not in page
    assert "<select" not in page, "no folders are known"
    about = client.get("/api/clips/about?id=video1").json()
    assert about["video_url"] is about["picture_url"] is None and about["start"] is None


def test_seconds_are_shown_as_a_clock_does():
    assert [second(each) for each in (0, 5.04, 65.5, 3725, 59.96)] == [
        *("0:00", "0:05", "1:05.5", "1:02:05", "1:00")
    ]


# ------------------------------------------------------------------------- the queue


class Slow:
    """A searcher that waits until it is let go."""

    class model:
        check = staticmethod(lambda text: "")

    clips = ["a"]
    check_index = staticmethod(lambda: None)

    def __init__(self):
        self.go, self.ended = threading.Event(), threading.Event()
        self.begun, self.done = [], []

    def rank(self, text, among, candidates, proceed):
        self.begun.append(text)
        try:
            while not self.go.wait(0.01):
                proceed()
        finally:
            self.ended.set()
        self.done.append(text)
        return np.zeros(1)


@pytest.fixture
def slow():
    """An engine whose searches take until ``go`` is set."""
    searcher = Slow()
    engine = Engine(
        lambda: None, lambda *_: searcher, lambda: Folders([]), Limits(waiting=3, seconds=5)
    )
    engine.start()
    while not engine.is_ready:
        time.sleep(0.01)
    yield searcher, engine
    searcher.go.set()
    engine.close()


def test_a_full_queue_is_told_at_once_and_no_search_is_lost(slow):
    searcher, engine = slow

    async def ask():
        tasks = [asyncio.create_task(engine.search(SearchRequest(str(n)))) for n in range(3)]
        await asyncio.sleep(0.05)
        with pytest.raises(Busy, match="3 searches are waiting") as told:
            await engine.search(SearchRequest("one too many"))
        assert 1 <= told.value.retry <= 60
        searcher.go.set()
        return await asyncio.gather(*tasks)

    assert len(asyncio.run(ask())) == 3
    assert searcher.done == ["0", "1", "2"], "one at a time, in their order"
    assert engine.waiting == 0
    again = asyncio.run(engine.search(SearchRequest("1")))
    assert again is not None and searcher.done == ["0", "1", "2"], "known results need no model"


def test_a_search_that_takes_too_long_is_given_up(slow):
    searcher, engine = slow
    engine.limits = Limits(3, 0.6)

    async def ask():
        slow_one = asyncio.create_task(engine.search(SearchRequest("slow")))
        await asyncio.sleep(0.05)
        assert searcher.begun == ["slow"]
        with pytest.raises(Busy, match="took longer than 0.6 s"):
            await slow_one

    asyncio.run(ask())
    assert searcher.ended.wait(5), "it does not go on for no one"
    searcher.go.set()
    assert asyncio.run(engine.search(SearchRequest("next")))
    assert searcher.done == ["next"], "the slow one ended without a result"


def test_a_wait_that_would_be_too_long_is_refused_at_once(slow):
    searcher, engine = slow
    engine._seconds = 20.0

    with pytest.raises(Busy):
        asyncio.run(engine.search(SearchRequest("a")))
    assert not searcher.begun


def test_the_memory_of_rankings_is_bounded(slow, monkeypatch):
    searcher, engine = slow
    searcher.go.set()
    monkeypatch.setattr(engine_module, "KEPT", 2)
    for name in "abc":
        asyncio.run(engine.search(SearchRequest(name)))
    assert [request.text for request in engine._known] == ["b", "c"]


def test_until_clips_are_indexed_the_page_waits(slow, serving, project, monkeypatch):
    """Answers are 503 with a time to try again, and say how far the index is."""
    from paddlevideo.retrieval.search_index import SearchIndex

    go, vectors = threading.Event(), SearchIndex.vectors
    monkeypatch.setattr(SearchIndex, "vectors", lambda *words: go.wait(20) and vectors(*words))
    index = project.folder / "other index"
    client = serving("--index", str(index), wait=False)
    try:
        client.site.engine.indexed = (3, VIDEOS)
        for address in ("/", "/?text=a+dog", "/?like=video1", "/api/search?text=a+dog"):
            answer = client.get(address)
            assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1, address
        state = client.get("/api/health")
        assert state.status_code == 503 and "retry-after" in state.headers
        assert state.json() == {"status": "indexing", "indexed": 3, "clips": 7, "waiting": 0}
        page = client.get("/").text
        assert 'value="3" max="7"' in page and '<noscript><meta http-equiv="refresh"' in page
        for address in ("/api/folders", "/api/clips/about?id=video1"):
            assert client.get(address).status_code == 503
    finally:
        go.set()
    while not client.site.engine.is_ready:
        time.sleep(0.01)
    assert client.site.engine.indexed == (VIDEOS, VIDEOS), "the index was made, clip by clip"
    assert client.get("/api/health").status_code == 200 and index.is_dir()
    assert client.get("/?text=a+dog").status_code == 200


def test_an_engine_that_fails_says_why_and_tells_the_server():
    told = threading.Event()

    def fail(*_):
        raise DataError("clip 3 is damaged")

    engine = Engine(lambda: None, fail, lambda: Folders([]))
    engine.on_error = told.set
    engine.start()
    assert told.wait(5) and str(engine.error) == "clip 3 is damaged"
    with pytest.raises(Busy):
        asyncio.run(engine.search(SearchRequest("a")))
    engine = Engine(fail, fail, lambda: Folders([]))
    with pytest.raises(DataError, match="damaged"):
        engine.start()
