"""Numbers of a running server, for Prometheus. Names and meanings: docs/operations.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
)
from prometheus_client.exposition import choose_encoder

from paddlevideo import __version__

if TYPE_CHECKING:
    from paddlevideo.serve.engine import Engine

#: Seconds: from an answer that is known to the slowest search that users bear.
BUCKETS = (0.003, 0.006, 0.012, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 5.0, 10.0)
#: Of ``paddlevideo_searches_total``.
MODEL, CACHE, MISTAKE, ERROR = "model", "cache", "mistake", "error"
#: Of ``paddlevideo_refused_total``.
INDEXING, QUEUE, TIMEOUT = "indexing", "queue", "timeout"
REPLACED, REQUESTS, AWAY = "replaced", "requests", "away"
#: Of ``paddlevideo_search_seconds``.
WAITING, SIMILARITY, MATCHING = "waiting", "similarity", "matching"


class Metrics:
    """The metrics of one server, in a registry of its own. Any thread may count."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Histogram(
            "paddlevideo_request_seconds",
            "Time until an answer was sent, by the route's template and the status code.",
            ("route", "status"),
            registry=registry,
            buckets=BUCKETS,
        )
        self._searches = Counter(
            "paddlevideo_searches", "Searches by what answered.", ("answer",), registry=registry
        )
        self._stages = Histogram(
            "paddlevideo_search_seconds",
            "Time of the stages of a search that the model answered.",
            ("stage",),
            registry=registry,
            buckets=BUCKETS,
        )
        self._refused = Counter(
            "paddlevideo_refused", "Answers 503 by their reason.", ("reason",), registry=registry
        )
        self._info = Info("paddlevideo_build", "What runs here.", registry=registry)
        self._info.info({"version": __version__})
        # Known from the start, so that the first of each is an increase.
        for answer in (MODEL, CACHE, MISTAKE, ERROR):
            self._searches.labels(answer)
        for stage in (WAITING, SIMILARITY, MATCHING):
            self._stages.labels(stage)
        for reason in (INDEXING, QUEUE, TIMEOUT, REPLACED, REQUESTS, AWAY):
            self._refused.labels(reason)

    def describe(self, weights_sha256: str, device: str) -> None:
        """Sets what is known once the model is loaded."""
        self._info.info(
            {"version": __version__, "weights_sha256": weights_sha256, "device": device}
        )

    def watch(self, engine: Engine) -> None:
        """Adds the state of an engine, which is looked up when Prometheus asks."""
        self.gauge(
            "paddlevideo_ready", "1 if searches are answered.", lambda: float(engine.is_ready)
        )
        self.gauge("paddlevideo_searches_waiting", "Searches in the queue.", lambda: engine.waiting)
        self.gauge("paddlevideo_searches_waiting_limit", "The most.", lambda: engine.limits.waiting)
        self.gauge("paddlevideo_clips", "Clips to search.", lambda: engine.progress()[1])
        self.gauge(
            "paddlevideo_clips_indexed", "Clips that are indexed.", lambda: engine.progress()[0]
        )

    def gauge(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Adds a number that is looked up when Prometheus asks."""
        Gauge(name, meaning, registry=self.registry).set_function(value)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Counts an answer."""
        self._requests.labels(route, str(status)).observe(seconds)

    def search(self, answer: str) -> None:
        """Counts a search by what answered."""
        self._searches.labels(answer).inc()

    def stage(self, stage: str, seconds: float) -> None:
        """Counts the time of a stage of a search."""
        self._stages.labels(stage).observe(seconds)

    def refused(self, reason: str) -> None:
        """Counts an answer 503."""
        self._refused.labels(reason).inc()

    def text(self, accept: str) -> tuple[bytes, str]:
        """Returns all metrics in a format that the header Accept allows, and its name."""
        encode, kind = choose_encoder(accept)
        return encode(self.registry), kind
