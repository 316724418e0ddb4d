"""Pages of tests and searches, curves of runs, pictures of clips. Cheap to import."""

from __future__ import annotations

from paddlevideo.report.clip_videos import Origin
from paddlevideo.report.page import Section, write_report
from paddlevideo.report.queries import Found, Query, RankedAnswer, read_queries, write_queries
from paddlevideo.report.search_page import Hit, write_search_page

__all__ = [
    "Found",
    "Hit",
    "Origin",
    "Query",
    "RankedAnswer",
    "Section",
    "read_queries",
    "write_queries",
    "write_report",
    "write_search_page",
]
