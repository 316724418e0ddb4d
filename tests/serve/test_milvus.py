"""A search page whose index is in Milvus, which goes away and comes back."""

import time

import pytest

from paddlevideo.retrieval import milvus_index, milvus_server
from paddlevideo.retrieval.milvus_server import IndexAway, IndexChanged
from paddlevideo.serve import engine
from tests.milvus_process import Server
from tests.serve.conftest import VIDEOS

pytest.importorskip("pymilvus", reason="pymilvus is not installed: the extra scale has it")
pytest.importorskip("milvus_lite", reason="milvus-lite is not installed: the extra scale has it")


def same(first, second):
    """Compares two answers to a search, whose similarities may differ in the last bits."""
    assert first["total"] == second["total"]
    for one, other in zip(first["clips"], second["clips"], strict=True):
        assert one["clip"] == other["clip"]
        for name in ("score", "margin", "similarity"):
            assert one[name] == pytest.approx(other[name], abs=1e-4)
    return True


def wait_for(client, status, seconds=30):
    """Waits until a check of readiness, which is no search, has an answer."""
    end = time.monotonic() + seconds
    while client.get("/api/health").status_code != status:
        assert time.monotonic() < end, client.get("/api/health").text
        time.sleep(0.05)


@pytest.mark.slow
def test_answers_are_those_of_the_folder_and_503_while_it_is_away(
    client, serving, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(milvus_index, "SEARCH_SECONDS", 1.0)
    server = Server(tmp_path / "data")
    server.start()
    try:
        other = serving("--index", server.address)
        for address in (
            "/api/search?text=a+dog&best=7",
            "/api/search?text=a+red+soup&best=7&match=0",
            "/api/search?text=a+dog&folder=soups",
            "/api/search?text=a+dog&folder=dogs&match=2",
            "/api/search?like=video2&best=7",
            "/api/search?like=video2&folder=dogs",
        ):
            assert same(other.get(address).json(), client.get(address).json()), address
        server.kill()
        for address in ("/api/search?text=a+cat", "/?text=a+cat", "/api/search?like=video4"):
            answer = other.get(address)
            assert answer.status_code == 503 and answer.headers["retry-after"] == "5", address
            assert "the index does not answer" in answer.text
            assert str(server.port) not in answer.text, "visitors are not told the address"
        assert f"{server.address}: Milvus does not answer" in caplog.text
        assert caplog.text.count("searches are refused until") == 1
        assert other.site.engine.error is None and other.get("/api/health").status_code == 503
        assert other.get("/api/search?text=a+dog&best=7").status_code == 200, "it is known"
        server.start()
        wait_for(other, 200)
        assert len(other.get(f"/api/search?text=a+cat&best={VIDEOS}").json()["clips"]) == VIDEOS
    finally:
        server.kill()


@pytest.fixture
def watched(serving, tmp_path, monkeypatch):
    """A server that asks its index in Milvus often, and what that index answers with."""
    monkeypatch.setattr(engine, "CHECKED", 0.05)
    monkeypatch.setattr(engine, "AWAY", 0.05)
    other = serving("--index", str(tmp_path / "index.db"))
    index, errors = other.site.engine.searcher.index, []
    ask = type(index)._ask

    def asked(self, doing, request, **words):
        if errors and self is index:
            raise errors[-1]
        return ask(self, doing, request, **words)

    monkeypatch.setattr(type(index), "_ask", asked)
    yield other, errors
    errors.clear()


def test_readiness_follows_the_index_also_without_a_search(watched, caplog):
    other, errors = watched
    ready = other.site.engine.metrics.registry.get_sample_value
    known = "/api/search?text=a+dog&best=7"
    assert other.get("/api/health").json()["status"] == "ready"
    answer = other.get(known).json()
    for _ in range(2):
        errors.append(IndexAway("http://secret:1: Milvus does not answer"))
        wait_for(other, 503)
        health = other.get("/api/health")
        assert health.json()["status"] == "away" and health.json()["clips"] == VIDEOS
        assert health.headers["retry-after"] == "5" and "secret" not in health.text
        assert ready("paddlevideo_ready") == 0
        for address in ("/api/search?text=a+cat", "/?text=a+cat", "/api/search?like=video4"):
            refused = other.get(address)
            assert refused.status_code == 503 and "does not answer" in refused.text
        assert other.get(known).json() == answer and other.get("/").status_code == 200
        assert other.get("/api/folders").status_code == 200
        errors.clear()
        wait_for(other, 200)
        assert ready("paddlevideo_ready") == 1
    assert other.get("/api/search?text=a+cat").status_code == 200
    assert caplog.text.count("searches are refused until the index answers: http://secret:1") == 2


def test_a_search_that_finds_the_index_away_makes_the_server_not_ready(watched, monkeypatch):
    other, errors = watched
    monkeypatch.setattr(engine, "CHECKED", 60.0)
    time.sleep(0.2)  # the thread waits for a search now
    errors.append(IndexAway("away"))
    assert other.get("/api/health").status_code == 200
    assert other.get("/api/search?text=a+cat").status_code == 503
    assert other.get("/api/health").status_code == 503
    errors.clear()
    wait_for(other, 200)


def test_a_change_of_the_index_ends_a_server_that_nobody_asks(watched):
    other, errors = watched
    errors.append(IndexChanged("was changed by another process"))
    end = time.monotonic() + 30
    while other.site.engine.error is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert isinstance(other.site.engine.error, IndexChanged)


def test_an_index_that_another_process_changed_ends_the_server(serving, tmp_path):
    """Else it would answer 503 until someone notices, and say that it is ready."""
    other = serving("--index", str(tmp_path / "index.db"))
    index = other.site.engine.searcher.index
    index._remove(index._clips.keys[:1])
    answer = other.get("/api/search?text=a+dog")
    assert answer.status_code == 503 and "started again" in answer.json()["error"]
    assert "was changed by another process" in str(other.site.engine.error)
    refused = other.site.engine.metrics.registry.get_sample_value
    assert refused("paddlevideo_refused_total", {"reason": "replaced"}) == 1
    assert refused("paddlevideo_refused_total", {"reason": "away"}) == 0


@pytest.mark.slow
def test_a_server_that_is_away_at_the_start_ends_it_with_one_line(project, capsys, monkeypatch):
    from paddlevideo.cli import serve
    from tests.serve.conftest import words

    monkeypatch.setattr(milvus_server, "SECONDS", 1.0)
    place = ["--index", "http://127.0.0.1:9"]
    assert serve.main(words(project, "--port", "0", *place)) == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert error.splitlines()[-1].startswith("error: http://127.0.0.1:9: Milvus does not answer")
