"""Fill in the blank: which word is missing in a sentence about a clip."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from paddlevideo.loader.clips.gallery import ClipReader, RegionCount
from paddlevideo.loader.dataset.questions import AnsweredDataset
from paddlevideo.loader.dataset.retrieval import TokenSettings
from paddlevideo.loader.pipelines.text import pad_ids
from paddlevideo.loader.questions.blanks import around_blank, read_blanks
from paddlevideo.loader.questions.question import Question
from paddlevideo.loader.selection import MissingIds
from paddlevideo.loader.tokenizer import BertTokenizer, TextLength, load_tokenizer
from paddlevideo.registry import DATASETS, InputPath, NameOrPath
from paddlevideo.utils.ranges import Count

log = logging.getLogger("paddlevideo")


@DATASETS.register()
class FillInBlankDataset(AnsweredDataset):
    """Sentences with a blank in LSMDC's columns, each with its clip.

    A sample: the sentence's ``text_ids``, ``token_type_ids`` and ``text_mask`` (T,) with [MASK]
    in place of the blank, its position ``blank``, the clip's arrays and the text ``answer``.
    Sentences that are too long lose words at the ends, not the blank.

    ``file_path``: see :func:`paddlevideo.loader.questions.blanks.read_blanks`. Lines without a
    blank are left out and counted. The other arguments are those of :class:`MSRVTTDataset`.
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
    ) -> None:
        questions, self.without_blank = read_blanks(str(file_path))
        if self.without_blank:
            log.warning(
                "%s: the question has no blank (_____), so it is left out, as are %d others",
                self.without_blank[0],
                len(self.without_blank) - 1,
            )
        super().__init__(
            questions,
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

    def text_of(self, item: Question) -> dict[str, Any]:
        """Returns the sentence's arrays (T,), the position of its blank, and the answer."""
        tokenizer = load_tokenizer(self.tokens.bert_model)
        ids, blank = encode_blank(tokenizer, item.text, self.tokens.length)
        arrays = pad_ids(ids, self.tokens.length, self.tokens.padding_index)
        return {**arrays, "blank": np.int64(blank), "answer": item.answer}

    def default_metric(self) -> dict[str, Any]:
        """Returns the METRIC section of a test with blanks."""
        return {"name": "BlankMetric"}

    def describe(self) -> dict[str, Any]:
        """Returns files and counts; ``without_blank`` counts the lines that were left out."""
        return {**super().describe(), "without_blank": len(self.without_blank)}


def encode_blank(tokenizer: BertTokenizer, question: str, length: int) -> tuple[list[int], int]:
    """Returns the ids of a sentence, at most ``length``, and the position of [MASK] in them.

    Of a sentence that is too long, an equal number of pieces on both sides of the blank is kept,
    or more on one side if the other has fewer.
    """
    before, after = (tokenizer.encode(part, len(part) + 2)[1:-1] for part in around_blank(question))
    room = length - 3  # [CLS], [MASK], [SEP]
    kept_before = min(len(before), max(room - len(after), (room + 1) // 2))
    before = before[len(before) - kept_before :]
    after = after[: room - len(before)]
    ids = [tokenizer.start_id, *before, tokenizer.mask_id, *after, tokenizer.end_id]
    return ids, 1 + len(before)
