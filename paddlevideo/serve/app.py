"""The page and the JSON API: an application for uvicorn."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException as AnyHTTPException

from paddlevideo import __version__
from paddlevideo.loader.store import StoreReplaced
from paddlevideo.report.clip_videos import Shot
from paddlevideo.retrieval.milvus_server import IndexChanged
from paddlevideo.retrieval.search import DEPTH
from paddlevideo.serve import schema
from paddlevideo.serve.byte_ranges import file_response
from paddlevideo.serve.clips import TYPES, About, Clips
from paddlevideo.serve.engine import RETRY_AWAY, Busy, Engine, Found, SearchRequest
from paddlevideo.serve.guard import Access, Guard
from paddlevideo.serve.hits import Hit, hits_of
from paddlevideo.serve.metrics import REPLACED
from paddlevideo.serve.pages import PAGE, Pages
from paddlevideo.serve.requests import Requests
from paddlevideo.utils.errors import UserError

T = TypeVar("T")

LONGEST_TEXT = 500  # characters
LONGEST_NAME = 1000  # of clips and folders
MOST = 100  # clips at a time of the API
#: Clips change only with the feature file, and pictures with the videos.
KEEP = {"cache-control": "private, max-age=3600"}
ASK_AGAIN = {"cache-control": "private, no-cache"}

Name = Annotated[str, Query(max_length=LONGEST_NAME, description="the id of a clip")]
Start = Annotated[int, Query(alias="from", ge=0, le=DEPTH, description="clips to leave out")]


class Json(Response):
    """JSON that any text can be in, also halves of surrogate pairs."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Returns the body."""
        return json.dumps(content, allow_nan=False).encode()


class Site:
    """What the routes share: the engine, the clips, and a thread for each kind of file."""

    def __init__(self, engine: Engine, clips: Clips, candidates: int) -> None:
        """``candidates``: the most clips to match with a sentence."""
        self.engine, self.clips, self.candidates = engine, clips, candidates
        self.pages = Pages(candidates)
        self._files = ThreadPoolExecutor(1, "files")
        self._pictures = ThreadPoolExecutor(1, "pictures")

    async def with_files(self, read: Callable[..., T], *arguments: Any) -> T:
        """Returns ``read(...)``, which runs in the thread that reads notes of clips."""
        return await asyncio.get_running_loop().run_in_executor(self._files, read, *arguments)

    async def picture(self, about: About) -> bytes | None:
        """Returns a JPEG of a clip, or None."""
        if about.path is None:
            return None
        shot, run = Shot(about.path, about.span), asyncio.get_running_loop().run_in_executor
        return await run(self._pictures, self.clips.picture, about.clip, shot)

    async def about(self, clip: str) -> About:
        """Returns what is known about a clip. Raises HTTPException if there is none."""
        searcher = self.engine.searcher
        if searcher is None:
            raise Busy("the clips are being read", 2)
        if searcher.position(clip) is None:
            raise HTTPException(404, f'There is no clip called "{clip[:60]}".')
        return await self.with_files(self.clips.about, clip)

    async def hits(self, found: Found, start: int, count: int) -> list[Hit]:
        """Returns ``count`` clips of a ranking, from position ``start`` on."""
        searcher, folders = self.engine.searcher, self.engine.folders
        assert searcher is not None
        positions = found.ranking.positions[start : start + count].tolist()
        names, about = searcher.clips, self.clips.about
        abouts = await self.with_files(lambda: [about(names[at]) for at in positions])
        return list(hits_of(found.ranking, abouts, [folders.of(at) for at in positions], start))

    def close(self) -> None:
        """Ends the threads; what they read is of no use any more."""
        self._files.shutdown(wait=False, cancel_futures=True)
        self._pictures.shutdown(wait=False, cancel_futures=True)
        self.clips.close()


@dataclass(frozen=True)
class Asked:
    """The part of a request that is the same for the page and the API."""

    text: Annotated[
        str, Query(max_length=LONGEST_TEXT, description="a sentence that describes a clip")
    ] = ""
    like: Annotated[
        str, Query(max_length=LONGEST_NAME, description="the id of a clip, instead of a text")
    ] = ""
    folder: Annotated[
        str, Query(max_length=LONGEST_NAME, description="only clips of this folder of videos")
    ] = ""
    match: Annotated[
        int | None,
        Query(ge=0, description="most similar clips to match; 0 ranks by similarity alone"),
    ] = None

    def request(self, site: Site) -> SearchRequest:
        """Returns what to search. Raises HTTPException for a text and a clip at once."""
        text = " ".join(self.text.split())
        if text and self.like:
            raise HTTPException(400, "Give text or like, not both.")
        if self.like:
            return SearchRequest("", self.like, self.folder, 0)
        match = site.candidates if self.match is None else min(self.match, site.candidates)
        searcher = site.engine.searcher
        if searcher is not None and searcher.index is None:
            match = site.candidates  # every clip is matched in any case
        return SearchRequest(text, "", self.folder, match)


AskedFor = Annotated[Asked, Depends()]


@dataclass(frozen=True)
class Watching:
    """``metrics``: at ``/metrics``, for those who may search; ``queries``: in the log."""

    metrics: bool = True
    queries: bool = False


def create_app(site: Site, access: Access, watching: Watching | None = None) -> Guard:
    """Returns the application for those that ``access`` allows."""
    watching = watching or Watching()
    app = FastAPI(
        title="paddlevideo serve",
        version=__version__,
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        default_response_class=Json,
    )
    _add_page(app, site)
    _add_api(app, site)
    _add_clips(app, site)
    if watching.metrics:
        _add_metrics(app, site)
    _add_errors(app, site)
    requests = Requests(app.routes, site.engine.metrics, watching.queries)
    return Guard(app, access, site.pages.error, requests)


def _add_page(app: FastAPI, site: Site) -> None:
    """Adds the page, its style and its script."""

    @app.get("/", include_in_schema=False)
    async def page(
        asked: AskedFor,
        shown: Annotated[int, Query(ge=1, le=DEPTH)] = PAGE,
        start: Start = 0,
    ) -> Response:
        engine = site.engine
        if engine.searcher is None:
            raise Busy("the clips are being read", 2)
        request = asked.request(site)
        if not request.text and not request.like:
            examples = await site.with_files(site.pages.examples, engine.searcher, site.clips)
            return _html(site.pages.start(request, engine, examples))
        example = await site.about(request.like) if request.like else None
        found = await engine.search(request)
        hits = await site.hits(found, start, PAGE if start else shown)
        if start:
            return _html(site.pages.more(request, engine, found, hits))
        return _html(site.pages.results(request, engine, found, hits, example))

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        if (file := site.pages.files.get(name)) is None:
            raise HTTPException(404, "There is no such file.")
        return Response(file.content, media_type=file.media_type, headers=KEEP)


def _add_api(app: FastAPI, site: Site) -> None:
    """Adds searches and the state of the server."""

    @app.get("/api/search", response_model=schema.Results, responses=schema.ERRORS)
    async def search(
        asked: AskedFor,
        best: Annotated[int, Query(ge=1, le=MOST, description="clips to return")] = 10,
        start: Start = 0,
    ) -> Response:
        """Finds the clips that a sentence describes, or that are like another clip."""
        request = asked.request(site)
        if not request.text and not request.like:
            raise HTTPException(400, "Give text, a sentence, or like, the id of a clip.")
        if request.like and site.engine.searcher is not None:
            await site.about(request.like)
        found = await site.engine.search(request)
        hits = await site.hits(found, start, best)
        return Json(schema.results(request, found, hits, best, site.candidates))

    @app.get("/api/health", response_model=schema.Health, responses=schema.ERRORS)
    async def health() -> Response:
        """Says whether searches are answered, or how far the index is."""
        state = schema.health(site.engine)
        if site.engine.is_ready:
            return Json(state, headers=ASK_AGAIN)
        retry = RETRY_AWAY if site.engine.is_away else 2
        return Json(state, 503, headers={**ASK_AGAIN, "retry-after": str(retry)})

    @app.get("/api/folders", response_model=list[schema.Folder], responses=schema.ERRORS)
    async def folders() -> Response:
        """Lists the folders of videos, for the filter of a search."""
        if site.engine.searcher is None:
            raise Busy("the clips are being read", 2)
        counts = site.engine.folders.counts()
        return Json([{"folder": name, "clips": clips} for name, clips in counts])


def _add_clips(app: FastAPI, site: Site) -> None:
    """Adds what there is of single clips."""

    @app.get("/api/clips/about", response_model=schema.Clip, responses=schema.ERRORS)
    async def about(id: Name) -> Response:
        """Returns captions, video and span of a clip."""
        clip = await site.about(id)
        searcher = site.engine.searcher
        position = None if searcher is None else searcher.position(id)
        assert position is not None
        return Json(schema.clip(clip, site.engine.folders.of(position)))

    @app.get("/api/clips/picture", response_class=Response, responses=schema.picture())
    async def picture(id: Name) -> Response:
        """Returns a JPEG of the middle of a clip."""
        made = await site.picture(await site.about(id))
        if made is None:
            raise HTTPException(404, "There is no picture of this clip.")
        return Response(made, media_type="image/jpeg", headers=KEEP)

    @app.get("/api/clips/video", response_class=Response, responses=schema.video())
    async def video(id: Name, http: Request) -> Response:
        """Returns the video that a clip is in, or a range of its bytes."""
        clip = await site.about(id)
        if clip.path is None or (kind := TYPES.get(clip.path.suffix.lower())) is None:
            raise HTTPException(404, "There is no video of this clip that browsers play.")
        is_head = http.scope.get("is_head", False)
        try:
            sent = await site.with_files(
                file_response, clip.path, kind, dict(http.headers), is_head
            )
        except OSError:
            raise HTTPException(404, "The video of this clip cannot be read.") from None
        sent.headers.update(ASK_AGAIN)
        return sent


def _add_metrics(app: FastAPI, site: Site) -> None:
    """Adds what Prometheus asks for."""

    @app.get("/metrics", include_in_schema=False)
    async def metrics(http: Request) -> Response:
        content, kind = site.engine.metrics.text(http.headers.get("accept", ""))
        return Response(content, headers={**ASK_AGAIN, "content-type": kind})


def _add_errors(app: FastAPI, site: Site) -> None:
    """Adds the answers to what goes wrong: a page, or an object with ``error``."""

    def answer(request: Request, status: int, text: str, **headers: str) -> Response:
        if request.url.path.startswith("/api/"):
            return Json({"error": text}, status, {**ASK_AGAIN, **headers})
        asked = request.query_params.get("text", "")[:LONGEST_TEXT]
        page = site.pages.error(status, text, asked)
        return HTMLResponse(page, status, {**ASK_AGAIN, **headers})

    @app.exception_handler(Busy)
    async def busy(request: Request, error: Busy) -> Response:
        site.engine.metrics.refused(error.kind)
        retry = {"retry-after": str(error.retry)}
        if site.engine.searcher is not None or request.url.path.startswith("/api/"):
            text = f"Please try again in {error.retry} s: {error.reason}."
            return answer(request, 503, text, **retry)
        return HTMLResponse(site.pages.indexing(site.engine.indexed), 503, {**ASK_AGAIN, **retry})

    @app.exception_handler(StoreReplaced)
    @app.exception_handler(IndexChanged)
    async def ended(request: Request, error: StoreReplaced | IndexChanged) -> Response:
        site.engine.metrics.refused(REPLACED)
        site.engine.fail(error)
        return answer(request, 503, "The clips were replaced: the server has to be started again.")

    @app.exception_handler(UserError)
    async def refused(request: Request, error: UserError) -> Response:
        return answer(request, 400, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return answer(request, 400, f"{first['loc'][-1]}: {first['msg']}.")

    @app.exception_handler(AnyHTTPException)
    async def refused_by_route(request: Request, error: AnyHTTPException) -> Response:
        text = "There is no such page." if error.detail == "Not Found" else str(error.detail)
        return answer(request, error.status_code, text)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return answer(request, 500, "Something went wrong here; the server's log says what.")


def _html(page: str) -> HTMLResponse:
    return HTMLResponse(page, headers=ASK_AGAIN)
