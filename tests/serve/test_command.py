"""The command ``paddlevideo serve``: its start, its address, and its end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from paddlevideo.cli import serve
from paddlevideo.loader.store import FeatureStore, StoreWriter
from paddlevideo.loader.store.writer import discard
from paddlevideo.serve.server import Protocol, access_for, address_of, listen
from paddlevideo.utils.errors import ConfigError
from tests.serve.conftest import words
from tests.serve.server import get, serving, wait_until_ready

ROOT = Path(__file__).parents[2]


def running(project, *more):
    """A server of ``project``, and the address that it prints."""
    command = [sys.executable, "-m", "paddlevideo", "serve", *words(project, "--port", "0", *more)]
    return serving(command, env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_it_answers_until_it_is_interrupted(project, sent, code):
    with running(project) as (process, address):
        assert address.startswith("http://127.0.0.1:")
        wait_until_ready(address)
        status, text, _ = get(f"{address}api/search?text=a+dog&best=3")
        assert status == 200 and len(json.loads(text)["clips"]) == 3
        # A video that is being sent does not hold up the end.
        slow = socket.create_connection(("127.0.0.1", int(address.rstrip("/").split(":")[-1])))
        slow.sendall(b"GET /api/clips/video?id=video0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        started = time.monotonic()
        process.send_signal(sent)
        assert process.wait(20) == code
        assert time.monotonic() - started < 10
        error = process.stderr.read()
        slow.close()
        assert "Traceback" not in error
        assert ("interrupted; run the same command again" in error) == (sent == signal.SIGINT)


def run(project, capsys, *more):
    code = serve.main(words(project, *more))
    return code, capsys.readouterr().err


def test_clips_that_do_not_fit_end_it_with_one_line(project, capsys):
    """After it began to listen: the clips are read while the page says so."""
    index = project.folder / "another index"
    width = "DATASET.test.vision_feature_dim=9"
    assert serve.main(words(project, "--port", "0", "--index", str(index), "-o", width)) == 1
    out, error = capsys.readouterr()
    assert "serving on http://127.0.0.1" in out and "Traceback" not in error
    assert error.splitlines()[-1].startswith("error: ") and "vision_feature_dim is 9" in error
    assert not index.exists()


@pytest.mark.slow
def test_when_the_store_is_replaced_it_ends_and_says_so(project, tmp_path):
    """Instead of answering each search with an error until someone notices."""
    features = shutil.copytree(project.features, tmp_path / "clips.store")
    store = FeatureStore(features)
    clip = store[3]
    with running(project, "--features", features) as (process, address):
        wait_until_ready(address)
        discard(features, lambda manifest: True)
        with StoreWriter(features, store.manifest.sizes, "float32") as writer:
            writer.add(clip)
            writer.finish()
        status, text, _ = get(f"{address}api/search?text=a+dog")
        assert status == 503 and "started again" in json.loads(text)["error"]
        assert process.wait(20) == 1
        assert "error: " in (error := process.stderr.read()) and "was replaced" in error
        assert "Traceback" not in error


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["-w", "nowhere.pdparams"], 1, "nowhere.pdparams: no such weight file"),
        (["--features", "nowhere.store"], 1, "nowhere.store: No such file"),
        (["--videos", "nowhere"], 1, "nowhere: no such folder of videos"),
        (["--host", "no.such.host.invalid"], 2, "--host no.such.host.invalid: "),
        (["--host", "192.0.2.1"], 2, "--host 192.0.2.1 --port 0: "),
        (["--token", "short"], 2, "--token: at least 16 characters"),
        (["--token", "a b" * 9], 2, "--token: only the characters"),
        (["-o", "MODEL.backbone.hiden_size=3"], 2, 'Did you mean "hidden_size"'),
    ],
)
def test_a_mistake_is_one_line(project, capsys, more, code, message):
    done, error = run(project, capsys, "--port", "0", *more)
    assert done == code and "Traceback" not in error
    assert error.splitlines()[-1].startswith(f"error: {message}") or message in error


def test_a_port_in_use_is_one_line(project, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, error = run(project, capsys, "--port", str(port))
    assert code == 2
    assert error == (
        f"error: --port {port} is used by another program: choose another one, or --port 0 for "
        "any that is free\n"
    )


def test_without_its_packages_it_says_what_to_install(project, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.delitem(sys.modules, "paddlevideo.serve.app", raising=False)
    code, error = run(project, capsys, "--port", "0")
    assert code == 1
    expected = "error: the package fastapi is not installed: pip install fastapi uvicorn\n"
    assert error.replace("import of fastapi halted; ", "") == expected


def test_only_this_machine_may_connect_unless_told():
    options = serve.parse_arguments(["-w", "w", "--features", "f"])
    with listen(options.host, 0) as bound:
        access = access_for(bound, options.host, [], "")
        assert bound.getsockname()[0] == "127.0.0.1" and access.is_local and not access.token
        assert address_of(bound, access.token) == f"http://127.0.0.1:{bound.getsockname()[1]}/"
        assert access_for(bound, options.host, [], "x" * 16).token == "x" * 16


def test_where_others_may_connect_they_need_a_token():
    with listen("0.0.0.0", 0) as bound:
        first, second = (access_for(bound, "0.0.0.0", ["Box.LAN"], "") for _ in range(2))
        assert not first.is_local and len(first.token) >= 32 and first.token != second.token
        assert address_of(bound, first.token).endswith(
            f":{bound.getsockname()[1]}/?token={first.token}"
        )
        assert first.allows_host("box.lan:1") and first.allows_host(socket.gethostname())
        assert not first.allows_host("evil.example")
        with pytest.raises(ConfigError, match="at least 16"):
            access_for(bound, "0.0.0.0", [], "guessable")


REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
#: More than the system keeps for a client that does not read.
LARGE = 24 << 20


class Answers:
    """An application: a slow answer, one in parts as of a video, and one at once as of a page."""

    def __init__(self):
        self.active = []

    async def __call__(self, scope, receive, send):
        import asyncio

        path = scope["path"]
        self.active.append(path)
        size, part = {"/": (4, 4), "/video": (LARGE, 1 << 18), "/page": (LARGE, LARGE)}[path]
        if path == "/":
            await asyncio.sleep(0.6)
        headers = [(b"content-length", str(size).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for end in range(part, size + 1, part):
            body = b"done" * (part // 4)
            await send({"type": "http.response.body", "body": body, "more_body": end < size})
        self.active.remove(path)


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
def port(answers, monkeypatch):
    """The port of a server that takes its time for each answer, and gives clients little."""
    import threading

    import uvicorn

    monkeypatch.setattr("paddlevideo.serve.server.SLOWEST", 0.3)
    monkeypatch.setattr("paddlevideo.serve.server.STALLED", 0.5)
    bound = listen("127.0.0.1", 0)
    config = uvicorn.Config(answers, http=Protocol, ws="none", lifespan="off", timeout_keep_alive=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([bound],))
    bound.listen()
    thread.start()
    yield bound.getsockname()[1]
    server.should_exit = True
    thread.join(10)
    bound.close()


def answer_of(client):
    """One answer, or "" from a connection that is closed."""
    answer = b""
    while not answer.endswith(b"done") and (part := client.recv(4096)):
        answer += part
    return answer


@pytest.mark.parametrize(("before", "sent"), [(0, b""), (0, REQUEST[:20]), (1, REQUEST[:20])])
def test_a_client_that_sends_no_whole_request_is_cut_off(port, before, sent):
    """Such clients need no token, and would hold all connections."""
    with socket.create_connection(("127.0.0.1", port), timeout=4) as client:
        for _ in range(before):
            client.sendall(REQUEST)
            assert answer_of(client).startswith(b"HTTP/1.1 200")
        client.sendall(sent)
        assert answer_of(client) == b""


def test_a_client_that_waits_for_a_slow_answer_is_not_cut_off(port):
    with socket.create_connection(("127.0.0.1", port), timeout=4) as client:
        for _ in range(2):
            client.sendall(REQUEST)
            assert answer_of(client).startswith(b"HTTP/1.1 200")


def read(client, size, pause):
    """The number of bytes of an answer until the connection ends, ``size`` at a time."""
    got = 0
    try:
        while part := client.recv(size):
            got += len(part)
            if got >= LARGE:
                break
            time.sleep(pause)
    except ConnectionResetError:
        pass
    return got


@pytest.mark.parametrize("path", ["/video", "/page"])
@pytest.mark.parametrize("bytes_a_second", [0, 100])
def test_a_client_that_does_not_take_its_answer_is_cut_off(port, answers, path, bytes_a_second):
    """Such clients would hold all requests, or all connections."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(REQUEST.replace(b" / ", f" {path} ".encode()))
        until, taken = time.monotonic() + 1.5, 0
        while time.monotonic() < until:
            time.sleep(0.1)
            if bytes_a_second:
                taken += len(client.recv(bytes_a_second // 10))
        assert not answers.active
        assert taken + read(client, 1 << 20, 0) < LARGE


def test_a_client_that_takes_its_time_is_not_cut_off(port, answers):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(REQUEST.replace(b" / ", b" /video "))
        started = time.monotonic()
        assert read(client, 1 << 18, 0.01) >= LARGE
        assert time.monotonic() - started > 0.8, "longer than STALLED"
