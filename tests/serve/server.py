"""A server in a process of its own, for tests."""

from __future__ import annotations

import re
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest


@contextmanager
def serving(command, **more):
    """Starts a server; gives the process and the address that it prints."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    ) as process:
        try:
            line = process.stdout.readline()
            printed = re.fullmatch(r"serving on (http://\S+)\n", line)
            assert printed, line + process.stderr.read()
            yield process, printed[1]
        finally:
            process.kill()


def get(address):
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


def wait_until_ready(address):
    for _ in range(300):
        status, _, headers = get(f"{address}api/health")
        if status == 200:
            return
        assert status == 503 and headers["retry-after"]
        time.sleep(0.1)
    pytest.fail("the index was not made")
