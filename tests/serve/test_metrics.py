"""``/metrics`` of ``paddlevideo serve``: what is counted, and who may read it."""

from __future__ import annotations

import asyncio
import sys
import time
from types import SimpleNamespace

import pytest

from paddlevideo.cli import serve
from paddlevideo.serve.app import Watching, create_app
from paddlevideo.serve.engine import Busy, Engine, Limits, SearchRequest
from paddlevideo.serve.folders import Folders
from paddlevideo.serve.guard import Access
from paddlevideo.serve.metrics import Metrics
from paddlevideo.serve.requests import Requests
from tests.serve.conftest import VIDEOS, words
from tests.serve.test_api import Slow

TOKEN = "sixteen-characters"


class Numbers:
    """Reads single numbers of a registry."""

    def __init__(self, metrics):
        self._registry = metrics.registry

    def __call__(self, name, **labels):
        return self._registry.get_sample_value(f"paddlevideo_{name}", labels)

    def requests(self, route, status):
        return self("request_seconds_count", route=route, status=str(status)) or 0


@pytest.fixture(scope="module")
def fresh(serving, project):
    """A client of a server that no other test asks."""
    return serving("--index", str(project.folder / "index of metrics"))


@pytest.fixture
def numbers(fresh):
    return Numbers(fresh.site.engine.metrics)


def test_requests_are_counted_by_template_and_status(fresh, numbers):
    style = fresh.site.pages.files["style.css"].version
    asked = {
        "/api/search?text=a+dog": ("/api/search", 200),
        "/api/search": ("/api/search", 400),
        "/api/clips/about?id=video1": ("/api/clips/about", 200),
        "/api/clips/about?id=none": ("/api/clips/about", 404),
        f"/static/style.css?v={style}": ("/static/{name}", 200),
        "/static/none": ("/static/{name}", 404),
        "/openapi.json": ("/openapi.json", 200),
        "/some/where": ("other", 404),
        "/api/search/x": ("other", 404),
    }
    for address, (route, status) in asked.items():
        before = numbers.requests(route, status)
        assert fresh.get(address).status_code == status
        assert numbers.requests(route, status) == before + 1, address
    for n in range(50):
        fresh.get(f"/x{n}/{n}", params={"text": str(n)})
        fresh.get(f"/static/{n}")
        fresh.request("POST", f"/x{n}")
    lines = fresh.get("/metrics").text.splitlines()
    series = [line for line in lines if line.startswith("paddlevideo_request_seconds_count")]
    assert len(series) < 16, "clients cannot make new series"
    assert not any("text" in line or "x1" in line for line in series)


def test_seconds_fall_into_buckets_from_3_ms_to_10_s(fresh, numbers):
    fresh.get("/api/folders")
    name = "request_seconds_bucket"
    bounds = ["0.003", "0.1", "10.0", "+Inf"]
    counts = [numbers(name, route="/api/folders", status="200", le=each) for each in bounds]
    assert None not in counts and counts[-1] >= 1 and counts == sorted(counts)
    assert numbers("request_seconds_sum", route="/api/folders", status="200") > 0


def test_searches_are_counted_by_what_answers_and_timed_by_stage(fresh, numbers):
    def state():
        answers = [numbers("searches_total", answer=each) for each in ("model", "cache", "mistake")]
        stages = ("waiting", "similarity", "matching")
        return answers, [numbers("search_seconds_count", stage=each) for each in stages]

    (model, cache, mistake), stages = state()
    for _ in range(3):
        assert fresh.get("/api/search?text=one+red+dog").status_code == 200
    assert state() == ([model + 1, cache + 2, mistake], [each + 1 for each in stages])
    assert fresh.get("/api/search?text=one+red+dog&match=0").status_code == 200
    waiting, similarity, matching = stages
    assert state()[1] == [waiting + 2, similarity + 2, matching + 1], "nothing was matched"
    assert fresh.get("/api/search", params={"text": "\U0001f600"}).status_code == 400
    assert state()[0] == [model + 2, cache + 2, mistake + 1]


def test_the_state_is_shown(fresh, numbers):
    expected = {
        "ready": 1,
        "clips": VIDEOS,
        "clips_indexed": VIDEOS,
        "searches_waiting": 0,
        "searches_waiting_limit": 64,
        "requests_active": 0,
        "requests_active_limit": 256,
    }
    assert {name: numbers(name) for name in expected} == expected
    text = fresh.get("/metrics").text
    [info] = [line for line in text.splitlines() if line.startswith("paddlevideo_build_info{")]
    assert f'weights_sha256="{fresh.site.engine.searcher.model.sha256}"' in info
    assert 'device="cpu"' in info or 'device="gpu' in info
    assert "process_resident_memory_bytes" in text and "paddlevideo_requests_active 1.0" in text


def test_prometheus_chooses_the_format(fresh):
    assert fresh.get("/metrics").headers["content-type"].startswith("text/plain; version=")
    accept = {"accept": "application/openmetrics-text;version=1.0.0"}
    answer = fresh.get("/metrics", headers=accept)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_who_may_search_may_read_them(serving):
    client = serving(access=Access(frozenset({"localhost"}), token=TOKEN))
    numbers = Numbers(client.site.engine.metrics)
    refused = client.get("/metrics")
    assert refused.status_code == 401 and "paddlevideo_" not in refused.text
    answer = client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200 and TOKEN not in answer.text
    assert numbers.requests("/metrics", 401) == 1


def test_with_a_port_of_their_own_they_are_nowhere_else(fresh):
    from starlette.testclient import TestClient

    engine = SimpleNamespace(metrics=Metrics())
    site = SimpleNamespace(engine=engine, pages=fresh.site.pages)
    app = create_app(site, Access(frozenset({"localhost"})), Watching(metrics=False))
    assert TestClient(app, base_url="http://localhost:8000").get("/metrics").status_code == 404


def test_refusals_are_counted_by_reason(fresh, numbers, monkeypatch):
    before = numbers("refused_total", reason="requests")
    monkeypatch.setattr("paddlevideo.serve.guard.MOST", 0)
    assert fresh.get("/").status_code == 503
    assert numbers("refused_total", reason="requests") == before + 1
    monkeypatch.undo()
    for kind in ("indexing", "queue", "timeout"):

        async def busy(request, kind=kind):
            raise Busy("not now", 3, kind)

        monkeypatch.setattr(fresh.site.engine, "search", busy)
        before = numbers("refused_total", reason=kind)
        assert fresh.get("/api/search?text=a+cat").headers["retry-after"] == "3"
        assert numbers("refused_total", reason=kind) == before + 1


def test_a_full_queue_and_a_late_answer_have_their_reasons():
    searcher = Slow()
    engine = Engine(lambda: None, lambda *_: searcher, lambda: Folders([]), Limits(1, 0.5))
    numbers = Numbers(engine.metrics)
    assert numbers("ready") == 0
    engine.start()
    while not engine.is_ready:
        time.sleep(0.01)
    assert numbers("ready") == 1

    async def ask():
        late = asyncio.create_task(engine.search(SearchRequest("late")))
        await asyncio.sleep(0.05)
        assert numbers("searches_waiting") == 1
        with pytest.raises(Busy) as full:
            await engine.search(SearchRequest("full"))
        with pytest.raises(Busy) as slow:
            await late
        return full.value.kind, slow.value.kind

    try:
        assert asyncio.run(ask()) == ("queue", "timeout")
    finally:
        searcher.go.set()
        engine.close()


def test_a_failed_search_is_counted_and_logged_without_its_sentence(caplog):
    searcher = Slow()
    searcher.rank = lambda *_, **__: 1 / 0
    engine = Engine(lambda: None, lambda *_: searcher, lambda: Folders([]))
    engine.start()
    while not engine.is_ready:
        time.sleep(0.01)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(engine.search(SearchRequest("a private sentence", candidates=9)))
    engine.close()
    assert Numbers(engine.metrics)("searches_total", answer="error") == 1
    assert "a search failed, with 9 candidates" in caplog.text and "private" not in caplog.text


def test_two_servers_of_one_process_count_apart():
    one, other = Metrics(), Metrics()
    one.search("model")
    assert Numbers(one)("searches_total", answer="model") == 1
    assert Numbers(other)("searches_total", answer="model") == 0


# ------------------------------------------------------------------------------- the log


def logged(capsys, monkeypatch, with_queries):
    import json

    monkeypatch.setattr("paddlevideo.utils.log._is_json", True)
    requests = Requests([], Metrics(), with_queries)
    scope = {"path": "/secret/path", "method": "BREW", "query_string": b"text=a+dog&token=hidden"}
    requests.finished(scope, 200, 0.25)
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("with_queries", [False, True])
def test_a_request_is_a_line_without_what_is_private(capsys, monkeypatch, with_queries):
    line = logged(capsys, monkeypatch, with_queries)
    assert line["event"] == "request" and line["message"] == "other other 200"
    wanted = {"method": "other", "route": "other", "status": 200, "seconds": 0.25}
    assert {name: line[name] for name in wanted} == wanted
    assert line.get("query") == ({"text": "a dog"} if with_queries else None)
    assert not any(word in str(line) for word in ("hidden", "secret", "BREW"))


def test_in_text_there_is_no_line_for_a_request(fresh, capfd):
    fresh.get("/api/search?text=a+dog")
    assert capfd.readouterr().out == ""


# --------------------------------------------------------------------------- the command


def failure(project, capsys, *more):
    code = serve.main(words(project, "--port", "0", *more))
    return code, capsys.readouterr().err.splitlines()[-1]


def test_a_port_in_use_is_told_before_the_model_is_loaded(project, capsys):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, error = failure(project, capsys, "--metrics_port", port)
    assert code == 2 and error == (
        f"error: --metrics_port {port} is used by another program: choose another one, or "
        "--metrics_port 0 for any that is free"
    )
    code, error = failure(project, capsys, "--metrics_port", "0", "--metrics_host", "192.0.2.1")
    assert code == 2 and error.startswith("error: --metrics_host 192.0.2.1 --metrics_port 0: ")
    more = ("--metrics_port", "0", "--metrics_host", "no.such.host.invalid")
    code, error = failure(project, capsys, *more)
    assert code == 2 and error.startswith("error: --metrics_host no.such.host.invalid: ")


def test_without_its_package_it_says_what_to_install(project, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "paddlevideo.serve.metrics")
    monkeypatch.delitem(sys.modules, "paddlevideo.serve.app")
    monkeypatch.delitem(sys.modules, "paddlevideo.serve.engine")
    code, error = failure(project, capsys)
    assert code == 1 and error.endswith(
        "the package prometheus_client is not installed: pip install prometheus-client"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file or directory"), ("\n", "is empty"), ("short", "at least 16 characters")],
)
def test_a_file_without_a_token_is_one_line(project, capsys, tmp_path, content, message):
    if content is not None:
        (tmp_path / "token").write_text(content)
    code, error = failure(project, capsys, "--token_file", str(tmp_path / "token"))
    assert code == 2 and message in error


def test_a_token_that_only_the_log_would_tell_is_refused(project, capsys, monkeypatch):
    monkeypatch.setattr(serve, "is_json", lambda: True)
    code, error = failure(project, capsys, "--host", "0.0.0.0")
    assert code == 2 and "give --token_file FILE" in error


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--token", "x" * 16, "--token_file", "f"], "not both"),
        (["--log_queries"], "--log_queries needs --log_format json"),
        (["--metrics_port", "70000"], "expected 0 to 65535"),
        (["--log_format", "yaml"], '"yaml" is not one of text, json'),
    ],
)
def test_a_wrong_option_is_one_line(project, capsys, more, message):
    with pytest.raises(SystemExit, match="2"):
        serve.main(words(project, *more))
    assert message in capsys.readouterr().err
