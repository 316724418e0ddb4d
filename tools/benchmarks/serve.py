"""Searches of many users at once, as ``paddlevideo serve`` answers them.

Starts a server and lets each user search one sentence after the other, without a pause: first by
similarity alone, then with candidates that are matched. An answer that says 503 is asked for again
after its Retry-After; the time until the answer counts from the first try.

With --metrics_rounds it compares two servers instead, of which one does not count, in turns; the
one that counts is also asked for its metrics every second.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import math
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from paddlevideo.utils.children import this_python

PATIENCE = 120  # seconds that a user waits for an answer
CAPTIONS = 1000  # that sentences are made of, at most
COUNTING = "from paddlevideo.cli import main; sys.exit(main())"
#: Starts a server whose metrics stay at zero.
NOT_COUNTING = (
    "from paddlevideo.serve.metrics import Metrics as M; "
    f"M.request = M.search = M.stage = M.refused = lambda *_: None; {COUNTING}"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``benchmark.py serve``."""
    from paddlevideo.utils.options import as_path
    from paddlevideo.utils.ranges import count, count_or_zero, positive

    parser.add_argument("-w", "--weights", type=as_path, required=True, metavar="FILE")
    parser.add_argument("--features", type=as_path, required=True, metavar="STORE")
    parser.add_argument("--users", type=count, default=32, help="at once (default 32)")
    parser.add_argument("--seconds", type=positive, default=60, help="of each part (default 60)")
    parser.add_argument("--candidates", type=count, default=128, help="to match (default 128)")
    parser.add_argument("--waiting", type=count, default=64, help="of the server (default 64)")
    parser.add_argument(
        "--metrics_rounds",
        type=count_or_zero,
        default=0,
        metavar="N",
        help="compare with and without metrics, in N rounds of --seconds each",
    )


@dataclass
class Tally:
    """What all users saw. Times in seconds."""

    times: list[float] = field(default_factory=list)
    retried: int = 0
    lost: list[str] = field(default_factory=list)


def sentences_of(features: Path) -> Iterator[str]:
    """Yields sentences that differ: the words of two captions, so that no result is known yet."""
    from paddlevideo.loader.clips.opening import open_clips
    from paddlevideo.prepare.origins import ClipNotes

    notes = ClipNotes(features)
    clips = itertools.islice(open_clips(features).ids(), CAPTIONS)
    captions = [text.split() for clip in clips for text in notes.captions(clip)[:1]]
    if not captions:
        captions = [f"clip {number}".split() for number in range(CAPTIONS)]
    for apart in itertools.count(1):
        for at, words in enumerate(captions):
            rest = captions[(at + apart) % len(captions)]
            yield " ".join([*words[: len(words) // 2 + 1], *rest[len(rest) // 2 :], str(apart)])


@contextmanager
def server(options: argparse.Namespace, statement: str = COUNTING) -> Iterator[str]:
    """Starts a server and gives its host and port once it answers searches."""
    command = this_python(statement)
    command += ["serve", "--port", "0"]
    for name in ("weights", "features", "candidates", "waiting"):
        command += [f"--{name}", str(getattr(options, name))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            host = urlsplit(process.stdout.readline().split()[-1]).netloc
            while ask(http.client.HTTPConnection(host), "/api/health")[0] == 503:
                time.sleep(0.2)
            yield host
        finally:
            process.terminate()


def ask(connection: http.client.HTTPConnection, address: str) -> tuple[int, bytes, float]:
    """Returns status, body and the seconds of Retry-After of an answer."""
    connection.request("GET", address)
    answer = connection.getresponse()
    body = answer.read()
    return answer.status, body, float(answer.headers.get("retry-after", 0))


def search(connection: http.client.HTTPConnection, address: str, tally: Tally) -> None:
    """Searches until there is an answer, and notes how long it took, or why there is none."""
    start = time.perf_counter()
    while time.perf_counter() - start < PATIENCE:
        try:
            status, body, retry = ask(connection, address)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            tally.lost.append(f"{type(error).__name__}: {error}")
            return
        if status == 200 and json.loads(body)["clips"]:
            tally.times.append(time.perf_counter() - start)
            return
        if status != 503 or not retry:
            tally.lost.append(f"{status} {body[:200]!r}")
            return
        tally.retried += 1
        connection.close()  # which the server does too, after a while
        time.sleep(retry)
    tally.lost.append(f"no answer in {PATIENCE} s")


def load(options: argparse.Namespace, host: str, match: int, sentences: Iterator[str]) -> Any:
    """Lets all users search for the given seconds; returns the numbers."""
    tally, lock = Tally(), threading.Lock()
    start = time.perf_counter()

    def user() -> None:
        connection = http.client.HTTPConnection(host, timeout=PATIENCE)
        while time.perf_counter() - start < options.seconds:
            with lock:
                text = next(sentences)
            query = urlencode({"text": text, "match": match, "best": 10})
            search(connection, f"/api/search?{query}", tally)
        connection.close()

    threads = [threading.Thread(target=user) for _ in range(options.users)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    return {
        "matched": match,
        "users": options.users,
        "answers": len(tally.times),
        "answers_per_second": len(tally.times) / seconds,
        "p50_seconds": statistics.median(tally.times) if tally.times else math.nan,
        "p95_seconds": quantile(tally.times, 0.95),
        "retried_after_503": tally.retried,
        "lost": len(tally.lost),
        "reasons": sorted(set(tally.lost))[:5],
    }


def quantile(values: list[float], share: float) -> float:
    """Returns the value below which a share of all values is, NaN without any."""
    return sorted(values)[math.ceil(share * len(values)) - 1] if values else math.nan


@contextmanager
def scraping(host: str, seconds: float = 1.0) -> Iterator[None]:
    """Context in which the metrics of a server are read again and again."""
    ended = threading.Event()

    def scrape() -> None:
        connection = http.client.HTTPConnection(host)
        while not ended.wait(seconds):
            assert ask(connection, "/metrics")[0] == 200

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def compare_metrics(options: argparse.Namespace, sentences: Iterator[str]) -> dict[str, Any]:
    """Measures searches by similarity alone, the fastest ones, with and without metrics."""
    with server(options) as counting, server(options, NOT_COUNTING) as other:
        rounds: dict[str, list[Any]] = {"with_metrics": [], "without_metrics": []}
        for number in range(options.metrics_rounds):
            for name in sorted(rounds, reverse=number % 2 == 1):
                is_counting = name == "with_metrics"
                with scraping(counting) if is_counting else nullcontext():
                    host = counting if is_counting else other
                    rounds[name].append(load(options, host, 0, sentences))
    return {name: median_of(parts) for name, parts in rounds.items()}


def median_of(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the medians of the rounds' times and rates, and the sums of their counts."""
    sums = {name: sum(part[name] for part in parts) for name in ("answers", "lost")}
    names = ("answers_per_second", "p50_seconds", "p95_seconds")
    medians = {name: statistics.median(part[name] for part in parts) for name in names}
    retried = sum(part["retried_after_503"] for part in parts)
    reasons = sorted({reason for part in parts for reason in part["reasons"]})
    more = {"retried_after_503": retried, "reasons": reasons, "rounds": parts}
    return {**parts[0], **sums, **medians, **more}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measures both kinds of searches, or one with and without metrics."""
    sentences = sentences_of(options.features)
    if options.metrics_rounds:
        return compare_metrics(options, sentences)
    with server(options) as host:
        return {
            name: load(options, host, match, sentences)
            for name, match in (("first_stage", 0), ("candidates", options.candidates))
        }


def show(report: dict[str, Any]) -> None:
    """Prints a line for each kind."""
    for name, part in report.items():
        print(
            f"{name.replace('_', ' ')} ({part['matched']} matched), {part['users']} users: "
            f"{part['answers']:,} answers, {part['answers_per_second']:.1f} a second; "
            f"p50 {1000 * part['p50_seconds']:.0f} ms, p95 {1000 * part['p95_seconds']:.0f} ms; "
            f"{part['retried_after_503']} tries again after 503, {part['lost']} lost"
        )
        for reason in part["reasons"]:
            print(f"  lost: {reason}")
