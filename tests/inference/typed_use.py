"""Uses of the package whose types mypy checks (``make lint``); nothing runs them.

Each marked line is an error. If the types were lost, mypy would call its mark unused.
"""

from __future__ import annotations

import paddlevideo as pv


def use() -> None:
    model = pv.load("weights", extraction=pv.Extraction(seconds=3))
    names, vectors = model.embed_videos("videos")
    texts = model.embed_text(["a dog"])
    (texts @ vectors.T).mean()
    model.search(model.encode_videos(["a.mp4"]), names[0])[0].score.is_integer()
    model.embed_text(3)  # type: ignore[arg-type]
    model.score("a dog", videos=3)  # type: ignore[arg-type]
    texts.no_such_attribute()  # type: ignore[attr-defined]
    names[0].no_such_attribute()  # type: ignore[attr-defined]
    pv.load("weights", batch=3)  # type: ignore[call-arg]
    pv.no_such_name()  # type: ignore[attr-defined]
