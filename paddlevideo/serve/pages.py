"""Writes the HTML of the page from its templates, in the style of the report pages."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.report.pages import TEMPLATES as REPORT
from paddlevideo.report.pages import environment
from paddlevideo.retrieval.search import Searcher
from paddlevideo.serve import hits as hit_values
from paddlevideo.serve.clips import About, Clips
from paddlevideo.serve.engine import Engine, Found, SearchRequest
from paddlevideo.serve.hits import Hit, link, page_link

TEMPLATES = Path(__file__).parent / "templates"
PAGE = 24  # clips at a time
EXAMPLES = 4  # sentences to try on the start page
LONGEST_EXAMPLE = 80  # characters
#: Titles of error pages, by status; others have the phrase of the status.
TITLES = {
    400: "This search does not work",
    401: "A token is needed",
    404: "Not found",
    503: "No answer right now",
}


@dataclass(frozen=True)
class File:
    """A style sheet or a script, under a name that changes with its content."""

    content: bytes
    media_type: str

    @property
    def version(self) -> str:
        """A short checksum."""
        return hashlib.sha256(self.content).hexdigest()[:12]


class Pages:
    """The pages; ``files`` are what they load, by name."""

    def __init__(self, candidates: int) -> None:
        """``candidates``: the number of clips that are matched by default."""
        self.candidates = candidates
        style = b"".join(file.read_bytes() for file in (REPORT / "style.css", _file("serve.css")))
        self.files = {
            "style.css": File(style, "text/css"),
            "page.js": File(_file("page.js").read_bytes(), "text/javascript"),
            "icon.svg": File(_file("icon.svg").read_bytes(), "image/svg+xml"),
        }
        self._templates = environment(TEMPLATES)
        self._templates.globals.update(
            style=self._address("style.css"),
            script=self._address("page.js"),
            icon=self._address("icon.svg"),
            link=link,
            verdict=hit_values.verdict,
            explanation=hit_values.explanation,
            span_text=hit_values.span_text,
            address_of_video=hit_values.address_of_video,
            most_captions=hit_values.CAPTIONS,
        )

    def _address(self, name: str) -> str:
        return link(f"/static/{name}", v=self.files[name].version)

    def _render(self, template: str, **values: Any) -> str:
        page = self._templates.get_template(template).render(**values)
        return page.encode("utf-8", "replace").decode()  # halves of surrogate pairs

    def examples(self, searcher: Searcher, clips: Clips) -> list[str]:
        """Returns captions of clips, evenly spread over all, as sentences to try."""
        count = len(searcher.clips)
        captions: dict[str, None] = {}
        for position in np.unique(np.linspace(0, count - 1, min(3 * EXAMPLES, count)).astype(int)):
            for text in clips.about(searcher.clips[position]).captions[:1]:
                if len(text) <= LONGEST_EXAMPLE:
                    captions[text] = None
        return list(captions)[:EXAMPLES]

    def start(self, request: SearchRequest, engine: Engine, examples: list[str]) -> str:
        """Returns the page before the first search."""
        return self._render(
            "start.html.j2", **self._form(request, engine), title="Search", examples=examples
        )

    def results(
        self,
        request: SearchRequest,
        engine: Engine,
        found: Found,
        hits: list[Hit],
        example: About | None,
    ) -> str:
        """Returns the page of a search."""
        title = f"{request.text} \u2013 Search" if request.text else "Similar clips"
        return self._render(
            "results.html.j2",
            **{**self._form(request, engine), **self._found(request, engine, found, hits)},
            title=title,
            warning=found.warning,
            example=example,
            everywhere=page_link(
                SearchRequest(request.text, request.like, "", request.candidates), self.candidates
            ),
        )

    def more(self, request: SearchRequest, engine: Engine, found: Found, hits: list[Hit]) -> str:
        """Returns only the clips, which a script adds to a page."""
        return self._render("more.html.j2", **self._found(request, engine, found, hits))

    def indexing(self, indexed: tuple[int, int]) -> str:
        """Returns the page while clips are read for the first time."""
        return self._render("indexing.html.j2", title="Getting ready", indexed=indexed)

    def error(self, status: int, text: str, asked: str = "") -> str:
        """Returns the page of a refusal or of a failure; ``asked``: the text that was searched."""
        title = TITLES.get(status) or HTTPStatus(status).phrase
        return self._render("error.html.j2", title=title, status=status, text=text, asked=asked)

    def _form(self, request: SearchRequest, engine: Engine) -> dict[str, Any]:
        """Returns the values of the search form."""
        assert engine.searcher is not None
        return {
            "request": request,
            "clips": len(engine.searcher.clips),
            "folders": engine.folders.counts(),
            "has_vectors": engine.searcher.index is not None,
            "candidates": self.candidates,
        }

    def _found(
        self, request: SearchRequest, engine: Engine, found: Found, hits: list[Hit]
    ) -> dict[str, Any]:
        """Returns the values of the list of clips, and the addresses of those that follow."""
        assert engine.searcher is not None
        end = hits[-1].rank if hits else 0
        is_more = bool(hits) and end < len(found.ranking)
        return {
            "hits": hits,
            "is_like": bool(request.like),
            "weight": engine.searcher.weight,
            "has_vectors": engine.searcher.index is not None,
            "ranking": found.ranking,
            "end": end,
            "fragment": page_link(request, self.candidates, **{"from": end}) if is_more else "",
            "page": page_link(request, self.candidates, shown=end),
            "next_page": page_link(request, self.candidates, shown=end + PAGE) if is_more else "",
        }


def _file(name: str) -> Path:
    return TEMPLATES / name
