"""A page that shows what a retrieval test found. Importing needs numpy only."""

from __future__ import annotations

from paddlevideo.report.page import write_report, write_search_page
from paddlevideo.report.queries import Found, Query, read_queries, write_queries

__all__ = ["Found", "Query", "read_queries", "write_queries", "write_report", "write_search_page"]
