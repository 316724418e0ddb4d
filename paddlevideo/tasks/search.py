"""Searching clips by a sentence, with an index of the gallery's vectors on the disk."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from paddlevideo.checkpoint import checksum
from paddlevideo.config import Config, check_config, run_settings
from paddlevideo.loader.clips import ClipBatches, ClipReader
from paddlevideo.loader.pipelines.text import pad_ids
from paddlevideo.loader.store import is_store
from paddlevideo.loader.tokenizer import load_tokenizer
from paddlevideo.modeling import build_model, load_weights, locate_weights
from paddlevideo.modeling.framework.actbert import ActBert
from paddlevideo.modeling.gallery import Gallery
from paddlevideo.runtime import select_device, use_threads
from paddlevideo.utils.errors import ConfigError, DataError, WeightsError
from paddlevideo.utils.files import write_whole
from paddlevideo.utils.limits import check_extents
from paddlevideo.utils.nearest import nearest
from paddlevideo.utils.progress import track

log = logging.getLogger("paddlevideo")


@dataclass(frozen=True)
class Answer:
    """A clip that was found."""

    clip: str
    score: float  # match margin + weighted similarity
    margin: float
    similarity: float


class Searcher:
    """Finds the clips of a feature file that a sentence describes.

    With a retrieval head the ``candidates`` most similar clips are matched with the sentence; their
    vectors come from an index, which is made at the first search and kept in the folder ``index``
    under the checksums of weights and features. Without a head every clip is matched.
    """

    def __init__(
        self, config: Config, weights: Path, features: Path, index: Path, candidates: int = 128
    ) -> None:
        """Raises ConfigError, DataError or WeightsError where something does not fit."""
        given, weights = weights, locate_weights(weights)
        check_config(config, "export")
        settings = run_settings(config)
        select_device(settings.device)
        use_threads(settings.num_threads)
        self.options = dataset_options(config)
        model = build_model(config.MODEL, blank=True)
        if not isinstance(model, ActBert):
            raise ConfigError("MODEL.framework: only an ActBert can be searched with")
        words = load_tokenizer(self.options["bert_model"]).vocabulary_size
        check_extents(model.limits(), {"text_ids": words}, self.options["bert_model"])
        load_weights(model, given, for_test=True)
        model.eval()
        self.model, self.candidates = model, candidates
        self.head = model.retrieval_head
        if self.head is not None and np.isnan(self.head.weight):
            raise WeightsError(
                "these weights carry no weight of the similarity (it is automatic, and no "
                "validation chose it): -o MODEL.retrieval_head.similarity_weight=1"
            )
        reader = ClipReader(
            str(features),
            self.options["max_region_num"],
            self.options["max_action_num"],
            self.options["vision_feature_dim"],
            self.options["action_feature_dim"],
        )
        self.clips = reader.store.ids()
        if not self.clips:
            raise DataError(f"{features}: holds no clips")
        self._source = ClipBatches(reader, self.clips, self.options["gallery_batch"])
        self.gallery = self._open_gallery(weights, features, index)

    def find(self, sentence: str, count: int = 10) -> list[Answer]:
        """The ``count`` best clips, best first."""
        ids = load_tokenizer(self.options["bert_model"]).encode(
            sentence, self.options["max_seq_length"]
        )
        padded = pad_ids(ids, self.options["max_seq_length"], self.options["padding_index"])
        caption = self.model.encode_captions({key: row[None] for key, row in padded.items()})
        similarities, weight = np.zeros(self.gallery.size, np.float32), 0.0
        places = np.arange(self.gallery.size)
        if self.head is not None:
            vector = caption.vector.numpy() * float(self.head.scale)
            assert self.gallery.vectors is not None
            similarities, weight = (vector @ self.gallery.vectors.T)[0], self.head.weight
            limit = self.head.faiss_from
            places = np.sort(nearest(vector, self.gallery.vectors, self.candidates, limit)[0])
        margins = self.model.listed_margins(caption, self.gallery, places)
        scores = margins + weight * similarities[places]
        best = np.argsort(-scores, kind="stable")[:count]
        return [
            Answer(
                self.clips[places[at]],
                float(scores[at]),
                float(margins[at]),
                float(similarities[places[at]]),
            )
            for at in best
        ]

    def _open_gallery(self, weights: Path, features: Path, index: Path) -> Gallery:
        encode, gigabytes = self.model.encode_videos, self.model.gallery_gigabytes
        if self.head is None:
            log.info("these weights have no retrieval head: every clip is matched")
            return Gallery(encode, _Tracked(self._source), gigabytes)
        key = self._key(weights, features)
        path = index / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
        vectors = read_index(path, key, len(self.clips))
        if vectors is None:
            gallery = Gallery(encode, _Tracked(self._source), 0.0)
            assert gallery.vectors is not None
            write_index(path, key, gallery.vectors)
            log.info("indexed %d clips: %s", len(self.clips), path)
            vectors = gallery.vectors
        return Gallery.of_vectors(encode, self._source, vectors)

    def _key(self, weights: Path, features: Path) -> str:
        """What the vectors depend on."""
        name = "store.json" if is_store(features) else "data.mdb"
        file = features / name if features.is_dir() else features
        state = file.stat()
        return json.dumps(
            {
                "weights": checksum(weights),
                "features": [str(file.resolve()), state.st_size, state.st_mtime_ns],
                "sizes": {name: self.options[name] for name in sorted(self.options)},
            }
        )


class _Tracked:
    """A source of clips with a progress bar."""

    def __init__(self, source: ClipBatches) -> None:
        self.source, self.take = source, source.take

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Any]:
        batches = -(-len(self.source) // self.source.batch_size)
        return track(self.source, "index", batches, "clips", self.source.batch_size)


def dataset_options(config: Config) -> dict[str, Any]:
    """The arguments of DATASET.test, a retrieval set, with defaults for what it does not say."""
    import inspect

    from paddlevideo.loader.dataset import MSRVTTDataset

    section = (config.get("DATASET") or {}).get("test") or {}
    if section.get("format", "MSRVTTDataset") not in ("MSRVTTDataset", "YouCook2Dataset"):
        raise ConfigError(
            "DATASET.test.format: searching takes its sizes from an MSRVTTDataset or a "
            "YouCook2Dataset"
        )
    unused = (
        *("file_path", "features_path", "data_prefix", "test_mode", "only", "exclude"),
        "captions_per_clip",
    )
    known = inspect.signature(MSRVTTDataset.__init__).parameters
    return {
        name: section.get(name, parameter.default)
        for name, parameter in known.items()
        if name not in ("self", *unused)
    }


def read_index(path: Path, key: str, clips: int) -> np.ndarray | None:
    """Vectors (clips, D) of an index with this ``key``; None if there is none that fits."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["key"]) == key and len(file["vectors"]) == clips:
                return file["vectors"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        pass
    return None


def write_index(path: Path, key: str, vectors: np.ndarray) -> None:
    """Writes it whole or not at all."""

    def write(partial: Path) -> None:
        with open(partial, "wb") as file:
            np.savez(file, key=np.asarray(key), vectors=vectors)

    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, write)
