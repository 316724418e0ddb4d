"""Writes HTML pages from templates: self-contained single files without scripts."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from paddlevideo.files.whole import write_bytes_whole
from paddlevideo.report.clip_pictures import ClipPictures, shorten
from paddlevideo.report.clip_videos import Origin, Shot

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
THUMBNAIL = (220, 165, 68)  # width, height, quality of a JPEG: about 5 KB
NARROWEST, WIDEST = 3 / 4, 16 / 9  # aspect ratios of tiles; other pictures have margins


class Thumbnails(ClipPictures):
    """Pictures of clips for a page, each made once."""

    def __init__(self, folder: Path | None, origin_of: Callable[[str], Origin] = Origin) -> None:
        """The arguments and errors are those of ``ClipPictures``."""
        super().__init__(folder, origin_of)
        self._jpegs: dict[str, bytes | None] = {}  # by clip
        self._classes: dict[str, str] = {}  # by clip, for the style sheet

    def _jpeg(self, name: str) -> bytes | None:
        if name not in self._jpegs:
            self._jpegs[name] = self.read(name, _small_jpeg)
        return self._jpegs[name]

    def data_url(self, name: str) -> str | None:
        """Returns a data URL with a JPEG of the middle of a clip, or None."""
        jpeg = self._jpeg(name)
        return None if jpeg is None else _data_url(jpeg)

    def style_class(self, name: str) -> str | None:
        """Returns the CSS class that shows a clip's picture, or None."""
        if self._jpeg(name) is None:
            return None
        return self._classes.setdefault(name, f"clip{len(self._classes)}")

    def style(self) -> str:
        """Returns the CSS of all classes in use, and the aspect ratio of tiles."""
        jpegs = [jpeg for jpeg in self._jpegs.values() if jpeg is not None]
        if not jpegs:
            return ""
        shapes = [width / height for width, height in map(_size_of, jpegs)]
        shape = min(max(median(shapes), NARROWEST), WIDEST)
        rules = [f".picture {{ aspect-ratio: {shape:.3f} }}"]
        for name, style in self._classes.items():
            rules.append(f'.{style} {{ background-image: url("{self.data_url(name)}") }}')
        return "\n".join(rules) + "\n"


def _small_jpeg(shot: Shot) -> bytes:
    from paddlevideo.report.thumbnails import small_jpeg

    return small_jpeg(shot, *THUMBNAIL)


def _data_url(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def _size_of(jpeg: bytes) -> tuple[int, int]:
    from PIL import Image

    return Image.open(io.BytesIO(jpeg)).size


def write_page(
    path: Path,
    title: str,
    template: str,
    thumbnails: Thumbnails,
    remarks: Sequence[str] = (),
    media: str = "",
    **values: Any,
) -> list[str]:
    """Writes a page atomically, and returns lines about clips without a picture.

    Args:
        path: the HTML file; its folder is created if needed.
        title: the heading.
        template: the name of the template of the content below the heading.
        thumbnails: pictures for the template.
        remarks: paragraphs at the end, before those about missing pictures.
        media: an addition to the content security policy, for what the page may load.
        **values: variables of the template.
    """
    templates = environment()
    main = templates.get_template(template).render(thumbnails=thumbnails, **values)
    style = f"\n{(TEMPLATES / 'style.css').read_text('utf-8')}{thumbnails.style()}"
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    from markupsafe import Markup

    page = templates.get_template("page.html.j2").render(
        title=title,
        main=Markup(main),
        style=Markup(style),
        digest=digest,
        media=media,
        remarks=[*remarks, *thumbnails.remarks()],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    # A caption may contain half of a surrogate pair, which UTF-8 cannot encode.
    write_bytes_whole(path, page.encode("utf-8", "replace"))
    return thumbnails.remarks()


@cache
def environment(folder: Path = TEMPLATES) -> Environment:
    """Returns the templates of a folder; values are escaped unless they are marked as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    templates.filters["shorten"] = shorten
    return templates
