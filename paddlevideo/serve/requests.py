"""What is known of each request afterwards: its metrics, and a line of the log in JSON."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.routing import BaseRoute, Route

from paddlevideo.serve.metrics import Metrics
from paddlevideo.utils.log import is_json, log_json

#: The route of requests for what is not there, and their method if it is not answered.
OTHER = "other"


class Requests:
    """Counts and logs requests by their route's template, never by path: clients choose paths."""

    def __init__(
        self, routes: Iterable[BaseRoute], metrics: Metrics, with_queries: bool = False
    ) -> None:
        """``with_queries``: log what is searched too, without the token."""
        known = [route for route in routes if isinstance(route, Route)]
        self.metrics, self._with_queries = metrics, with_queries
        self._fixed = {route.path for route in known if not route.param_convertors}
        self._patterns = [
            (route.path_regex, route.path) for route in known if route.param_convertors
        ]

    def route_of(self, path: str) -> str:
        """Returns the template of a path's route, or ``other``."""
        if path in self._fixed:
            return path
        found = (template for pattern, template in self._patterns if pattern.match(path))
        return next(found, OTHER)

    def finished(self, scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
        """Counts and logs a request."""
        route = self.route_of(scope["path"])
        self.metrics.request(route, status, seconds)
        if not is_json():
            return
        method = scope["method"] if scope["method"] in ("GET", "HEAD") else OTHER
        fields = {"method": method, "route": route, "status": status, "seconds": round(seconds, 6)}
        if self._with_queries:
            pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            fields["query"] = dict(pair for pair in pairs if pair[0] != "token")
        log_json("request", f"{method} {route} {status}", **fields)
