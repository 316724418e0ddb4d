"""Multiple choice: which of several texts belongs to a clip."""

from __future__ import annotations

from itertools import islice
from typing import Any, Literal

import numpy as np

from paddlevideo.loader.clips.gallery import ClipReader, RegionCount
from paddlevideo.loader.dataset.questions import QuestionDataset
from paddlevideo.loader.dataset.retrieval import TokenSettings
from paddlevideo.loader.questions.choices import equal_candidates, read_choices
from paddlevideo.loader.questions.question import Choice
from paddlevideo.loader.selection import MissingIds
from paddlevideo.loader.tokenizer import TextLength
from paddlevideo.registry import DATASETS, InputPath, NameOrPath
from paddlevideo.utils.errors import DataError
from paddlevideo.utils.ranges import Count


@DATASETS.register()
class MultipleChoiceDataset(QuestionDataset[Choice]):
    """Clips with candidate texts, for tests: MSR-VTT's multiple choice, NExT-QA, JSON lines.

    A sample: ``text_ids``, ``token_type_ids`` and ``text_mask`` (K, T) of K candidates, each
    after the question if there is one, and the clip's arrays. Questions with fewer candidates
    than others are padded with texts whose ``text_mask`` is 0.

    ``file_path``: see :func:`paddlevideo.loader.questions.choices.read_choices`.
    ``equal_candidates``: "error", or "count" to test with them: one that equals the right answer
    is a tie, which counts as wrong. The other arguments are those of :class:`MSRVTTDataset`.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - flat, as the other data sets are
        self,
        file_path: InputPath,
        features_path: InputPath,
        bert_model: NameOrPath = "bert-base-uncased",
        max_seq_length: TextLength = 36,
        max_region_num: RegionCount = 36,
        max_action_num: Count = 5,
        vision_feature_dim: Count = 2048,
        action_feature_dim: Count = 2048,
        only: InputPath | None = None,
        exclude: InputPath | None = None,
        missing_ids: MissingIds = "error",
        equal_candidates: Literal["error", "count"] = "error",
    ) -> None:
        choices = read_choices(str(file_path))
        self.repeated = count_equal(choices, str(file_path), equal_candidates == "error")
        super().__init__(
            choices,
            str(file_path),
            ClipReader(
                features_path,
                max_region_num,
                max_action_num,
                vision_feature_dim,
                action_feature_dim,
            ),
            TokenSettings(bert_model, max_seq_length, 0),
            only,
            exclude,
            missing_ids,
        )
        self.candidates = max(len(choice.candidates) for choice in self.items)

    def text_of(self, item: Choice) -> dict[str, Any]:
        """Returns the arrays of the K candidates, (K, T) each."""
        encoded = [self.tokens.encode(text) for text in item.texts]
        arrays = {key: np.stack([each[key] for each in encoded]) for key in encoded[0]}
        more = self.candidates - len(encoded)
        return {key: np.pad(array, ((0, more), (0, 0))) for key, array in arrays.items()}

    def default_metric(self) -> dict[str, Any]:
        """Returns the METRIC section of a test with several candidates."""
        return {"name": "ChoiceMetric"}

    def describe(self) -> dict[str, Any]:
        """Returns files and counts; ``equal_candidates`` counts questions with two equal ones."""
        return {
            **super().describe(),
            "candidates": self.candidates,
            "equal_candidates": self.repeated,
        }


def count_equal(choices: list[Choice], path: str, is_error: bool) -> int:
    """Returns the number of questions with two equal candidates. Raises DataError if told to."""
    found = list(equal_candidates(choices))
    if not found or not is_error:
        return len(found)
    shown = "; ".join(
        f'{choice.where.rpartition(": ")[2]} "{text:.60}"' for choice, text in islice(found, 3)
    )
    raise DataError(
        f"{path}: {len(found)} of {len(choices)} questions have two equal candidates: {shown}. "
        "Correct them, or set equal_candidates: count, which counts a tie with the right answer "
        "as wrong"
    )
