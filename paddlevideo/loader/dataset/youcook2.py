"""YouCook2: captions of segments of cooking videos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from paddlevideo.loader.captions.narrations import annotated_videos
from paddlevideo.loader.clips.gallery import ClipReader, RegionCount
from paddlevideo.loader.dataset.retrieval import (
    GalleryClips,
    Pair,
    RetrievalDataset,
    TokenSettings,
)
from paddlevideo.loader.selection import MissingIds
from paddlevideo.loader.tokenizer import TextLength
from paddlevideo.registry import DATASETS, InputPath, NameOrPath
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.ranges import Count, CountOrZero


@DATASETS.register()
class YouCook2Dataset(RetrievalDataset):
    """Segments of the official annotation file, and their clips in a feature store or an LMDB.

    ``file_path``: ``youcookii_annotations_trainval.json``, of which ``subset`` is used ("" for
    all). ``clip_id`` formats a segment's clip id from its ``video``, ``id``, ``start`` and ``end``
    (whole seconds): the default gives ``xHr8X2Wpmno_03``, and "{video}_{start}_{end}" the ids
    that tools/extract_features.py makes from a list of segments. The other arguments are those of
    :class:`MSRVTTDataset`. Raises DataError.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - flat, as the other data sets are
        self,
        file_path: InputPath,
        features_path: InputPath,
        subset: Literal["training", "validation", "testing", ""] = "validation",
        clip_id: str = "{video}_{id:02d}",
        bert_model: NameOrPath = "bert-base-uncased",
        max_seq_length: TextLength = 36,
        max_region_num: RegionCount = 36,
        max_action_num: Count = 5,
        vision_feature_dim: Count = 2048,
        action_feature_dim: Count = 2048,
        gallery_batch: Count = 32,
        only: InputPath | None = None,
        exclude: InputPath | None = None,
        captions_per_clip: CountOrZero = 0,
        missing_ids: MissingIds = "error",
        gallery: GalleryClips = "captioned",
    ):
        super().__init__(
            list(_segments(str(file_path), subset, clip_id)),
            str(file_path),
            ClipReader(
                features_path,
                max_region_num,
                max_action_num,
                vision_feature_dim,
                action_feature_dim,
            ),
            TokenSettings(bert_model, max_seq_length, 0),
            gallery_batch,
            only,
            exclude,
            captions_per_clip,
            missing_ids,
            gallery,
        )


def _segments(path: str, subset: str, clip_id: str) -> Iterator[Pair]:
    """Yields clip and caption of every annotated segment of a subset."""
    subsets: set[str] = set()
    is_empty = True
    for video, its_subset, parts, where in annotated_videos(path):
        subsets.add(its_subset)
        if subset in ("", its_subset):
            for number, part in enumerate(parts):
                is_empty = False
                yield _pair(clip_id, video, part, f"{where}: annotation {number}")
    if not subsets:
        raise DataError(f'{path}: not an annotation file of YouCook2: it has no "database"')
    if is_empty:
        raise DataError(
            f'{path}: the subset "{subset}" has no annotations. Subsets here: '
            + ", ".join(sorted(subsets))
        )


def _pair(clip_id: str, video: str, part: Any, where: str) -> Pair:
    try:
        start, end = part["segment"]
        names: Mapping[str, Any] = {
            "video": video,
            "id": int(part["id"]),
            "start": int(start),
            "end": int(end),
        }
        caption = part["sentence"].strip()
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise DataError(
            f"{where}: lacks segment, id or sentence ({type(error).__name__}: {error})"
        ) from None
    if not caption:
        raise DataError(f"{where}: the sentence is blank")
    try:
        return clip_id.format(**names), caption
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise ConfigError(
            f'YouCook2Dataset.clip_id is "{clip_id}", which cannot be formatted '
            f"({type(error).__name__}: {error}); it may name video, id, start and end"
        ) from None
