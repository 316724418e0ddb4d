"""``paddlevideo serve --log_format json``: lines are objects that tell nothing private."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.serve.conftest import words
from tests.serve.server import get

ROOT = Path(__file__).parents[2]
TOKEN = "sixteen-characters"
pytestmark = pytest.mark.slow


@pytest.fixture
def process(project, tmp_path):
    """A server with a token, metrics at a port of their own, and a log of what is searched."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    more = ["--port", "0", "--token_file", str(tmp_path / "token"), "--metrics_port", "0"]
    more += ["--log_format", "json", "--log_queries"]
    with subprocess.Popen(
        [sys.executable, "-m", "paddlevideo", "serve", *words(project, *more)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        yield running
        running.kill()


def ask(address, bearer=TOKEN):
    """The status of an answer."""
    asked = urllib.request.Request(address, headers={"Authorization": f"Bearer {bearer}"})
    return get(asked)[0]


def send_no_http(address):
    with socket.create_connection(("127.0.0.1", int(address.rstrip("/").split(":")[-1]))) as client:
        client.sendall(b"no HTTP\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 400")


def test_from_its_start_to_sigterm(process):
    first = json.loads(process.stdout.readline())
    assert first["event"] == "serving"
    address = first["address"]
    while ask(f"{address}api/health") == 503:
        pass
    search = f"{address}api/search?text=a+private+dog"
    assert [ask(search), ask(search, "no"), ask(f"{address}nowhere")] == [200, 401, 404]
    assert ask(f"{search}&token={TOKEN}", "no") == 401, "its cookie is not kept here"
    assert ask(f"{address}metrics") == 404, "they have a port of their own"
    send_no_http(address)
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=30)
    assert process.returncode == 0
    lines = [first, *map(json.loads, out.splitlines())]
    errors = [json.loads(line) for line in error.splitlines()]
    assert TOKEN not in out + error + str(first)
    requests = [line for line in lines if line["event"] == "request"]
    assert {line["route"] for line in requests} == {"/api/health", "/api/search", "other"}
    searched = [line["status"] for line in requests if line["query"] == {"text": "a private dog"}]
    assert searched == [200, 401, 303, 401]
    [metrics] = [line for line in errors if line["event"] == "metrics"]
    assert metrics["address"].startswith("http://127.0.0.1:")
    [invalid] = [line for line in errors if line["logger"] == "uvicorn.error"]
    assert (invalid["level"], invalid["message"]) == ("warning", "Invalid HTTP request received.")
