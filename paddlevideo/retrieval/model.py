"""An ActBert with trained weights and all that its recipe says about texts and clips."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.config import Config, check_config, run_settings
from paddlevideo.files.fingerprint import unchanged
from paddlevideo.loader.clips.gallery import ClipReader
from paddlevideo.loader.dataset import MSRVTTDataset
from paddlevideo.loader.pipelines.text import pad_ids
from paddlevideo.loader.tokenizer import check_query, load_tokenizer
from paddlevideo.modeling import build_model, load_weights, locate_weights
from paddlevideo.modeling.heads.vectors import VectorHead
from paddlevideo.modeling.match_scorer import CaptionCache
from paddlevideo.retrieval.test import is_matcher
from paddlevideo.runtime import select_device, use_threads
from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.limits import check_extents

#: Arguments of a retrieval data set that only a test uses.
UNUSED = (
    *("self", "file_path", "features_path", "data_prefix", "test_mode", "only", "exclude"),
    *("captions_per_clip", "split"),
)
CLIP_SIZES = ("max_region_num", "max_action_num", "vision_feature_dim", "action_feature_dim")


class RetrievalModel:
    """A model that compares texts and clips, in evaluation mode.

    ``framework``: the ActBert; ``head``: its retrieval head or None; ``weights``: the file, with
    the checksum ``sha256``; ``options``: the recipe's sizes of texts and clips, named as the
    arguments of ``MSRVTTDataset``.
    """

    def __init__(self, config: Config, weights: Path, sentences: Sequence[str] = ()) -> None:
        """Checks ``sentences`` (see :meth:`check`), which takes no time, then loads the weights.

        Raises ConfigError or WeightsError.
        """
        self.weights = locate_weights(weights)
        check_config(config, "export")
        settings = run_settings(config)
        select_device(settings.device)
        use_threads(settings.num_threads)
        self.options = dataset_options(config)
        for sentence in sentences:
            self.check(sentence)
        model = build_model(config.MODEL, blank=True)
        if not is_matcher(model):
            raise ConfigError("MODEL.framework: only an ActBert compares texts and clips")
        vocabulary = self.options["bert_model"]
        words = load_tokenizer(vocabulary).vocabulary_size
        check_extents(model.limits(), {"text_ids": words}, vocabulary)
        #: What else than the weights the vectors of clips depend on.
        self.settings = {
            **{name: self.options[name] for name in CLIP_SIZES},
            **{name: config.MODEL.get(name) for name in ("backbone", "without")},
        }
        with unchanged(self.weights) as self.sha256:
            load_weights(model, weights, for_test=True)
        model.eval()
        self.framework: Any = model

    @property
    def head(self) -> VectorHead | None:
        """The retrieval head, which gives texts and clips vectors."""
        return self.framework.retrieval_head

    def check(self, sentence: str) -> str:
        """Returns a warning about words that are not in the vocabulary, or "".

        Raises ConfigError if none of them is, or if the sentence is empty.
        """
        tokenizer = load_tokenizer(self.options["bert_model"])
        return check_query(tokenizer, sentence, self.options["max_seq_length"])

    def encode(self, sentences: Sequence[str]) -> CaptionCache:
        """Returns the encoded sentences."""
        length, padding = self.options["max_seq_length"], self.options["padding_index"]
        tokenizer = load_tokenizer(self.options["bert_model"])
        rows = [pad_ids(tokenizer.encode(each, length), length, padding) for each in sentences]
        return self.framework.encode_captions(
            {key: np.stack([row[key] for row in rows]) for key in rows[0]}
        )

    def reader(self, features: Path) -> ClipReader:
        """Returns the clips of a feature file in the sizes of the recipe. Raises DataError."""
        return ClipReader.of(features, self.options)


def dataset_options(config: Config) -> dict[str, Any]:
    """Returns the arguments of DATASET.test, a retrieval data set, with its defaults.

    Raises:
        ConfigError: it is not a retrieval data set.
    """
    section = (config.get("DATASET") or {}).get("test") or {}
    if section.get("format", "MSRVTTDataset") not in ("MSRVTTDataset", "YouCook2Dataset"):
        raise ConfigError(
            "DATASET.test.format: a search needs the sizes of an MSRVTTDataset or a YouCook2Dataset"
        )
    return {
        name: section.get(name, parameter.default)
        for name, parameter in inspect.signature(MSRVTTDataset.__init__).parameters.items()
        if name not in UNUSED
    }
