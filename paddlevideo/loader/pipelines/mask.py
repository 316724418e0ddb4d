"""Masking for pre-training."""

from __future__ import annotations

from typing import Any

import numpy as np

from paddlevideo.loader.tokenizer import BertTokenizer, load_tokenizer
from paddlevideo.registry import PIPELINES
from paddlevideo.utils.errors import ConfigError, DataError
from paddlevideo.utils.ranges import Count, Probability

_KEPT = ("token_type_ids", "text_mask", "next_sentence_label", "index", "image_target")


@PIPELINES.register()
class RandomMask:
    """Masks word pieces, regions and actions, and puts the global region first.

    Takes the output of FeaturePadding, RandomCap and Tokenize and returns exactly the keys of a
    pre-training sample (T words, R regions, A actions): ``text_ids``, ``token_type_ids``,
    ``text_mask``, ``text_labels`` (T,); ``image_feat`` (R+1, F), ``image_loc`` (R+1, 5),
    ``image_mask`` (R+1,), ``image_label`` (R,), ``image_target`` (R, C); ``action_feat`` (A, G),
    ``action_mask``, ``action_label`` (A,); ``next_sentence_label``, ``index``.

    Only word pieces, real regions and real actions are chosen, each with its ``rate``.
    A chosen piece becomes [MASK] (``mask_share``), a random piece of the vocabulary
    (``random_share``) or does not change; its label is the piece. A chosen region or action
    is zeroed with probability ``zero_share``; its label is 1 or the action's class. Other labels
    are -1. At least one action of a clip is not zeroed.
    Clips without classes, as for fine-tuning, need ``region_rate`` and ``action_rate`` of 0
    (DataError), and get no ``image_target``.

    The three lengths are optional; if given, the sample's must be the same (ConfigError).
    """

    def __init__(  # noqa: PLR0913, PLR0917 - three contractual names, six rates
        self,
        max_seq_length: Count | None = None,
        max_action_length: Count | None = None,
        max_region_length: Count | None = None,
        word_rate: Probability = 0.15,
        region_rate: Probability = 0.15,
        action_rate: Probability = 0.15,
        mask_share: Probability = 0.8,
        random_share: Probability = 0.1,
        zero_share: Probability = 0.9,
    ):
        self.lengths = {
            "text_ids": ("max_seq_length", max_seq_length),
            "action_feat": ("max_action_length", max_action_length),
            "image_feat": ("max_region_length", max_region_length),
        }
        shares = (word_rate, region_rate, action_rate, mask_share + random_share, zero_share)
        if min(*shares, mask_share, random_share) < 0 or max(shares) > 1 + 1e-9:
            raise ConfigError("RandomMask: rates and shares must be probabilities, 0 to 1")
        self.word_rate, self.region_rate, self.action_rate = word_rate, region_rate, action_rate
        self.mask_share, self.random_share, self.zero_share = mask_share, random_share, zero_share

    def without_augmentation(self) -> RandomMask:
        """Returns the step with all rates 0."""
        text, actions, regions = (length for _, length in self.lengths.values())
        return RandomMask(text, actions, regions, 0.0, 0.0, 0.0)

    def extents(self, before: dict[str, Any]) -> dict[str, Any]:
        """Returns the known sizes, without those of classes that are not predicted."""
        rates = {"region_target": self.region_rate, "action_target": self.action_rate}
        return {key: count for key, count in before.items() if rates.get(key, 1)}

    def __call__(self, sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Returns the masked sample; the arrays of ``sample`` are not changed."""
        for key, (option, length) in self.lengths.items():
            if length is not None and len(sample[key]) != length:
                raise ConfigError(
                    f"RandomMask: {option} is {length}, but the steps before it produce "
                    f"{len(sample[key])}. Set both to the same number"
                )
        self._check_classes(sample)
        return {
            **{key: sample[key] for key in _KEPT if key in sample},
            **self._words(sample, load_tokenizer(sample["bert_model"]), rng),
            **self._regions(sample, rng),
            **self._actions(sample, rng),
        }

    def _check_classes(self, sample: dict[str, Any]) -> None:
        """Raises DataError if classes are predicted but unknown."""
        needed = {
            "region_rate": (self.region_rate, "image_target"),
            "action_rate": (self.action_rate, "action_target"),
        }
        for option, (rate, key) in needed.items():
            if rate and key not in sample:
                raise DataError(
                    f"the clip has no {option.removesuffix('_rate')} classes, which RandomMask "
                    f"needs: set its {option} to 0, or pack the classes too"
                )

    def _words(
        self, sample: dict[str, Any], tokenizer: BertTokenizer, rng: np.random.Generator
    ) -> dict[str, Any]:
        ids = sample["text_ids"]
        length = int(sample["text_mask"].sum())
        choice, fate = rng.random((2, len(ids)))
        chosen = choice < self.word_rate
        chosen[0] = False  # [CLS]
        chosen[length - 1 :] = False  # [SEP] and padding
        to_mask = chosen & (fate < self.mask_share)
        to_random = chosen & ~to_mask & (fate < self.mask_share + self.random_share)
        words = np.where(to_mask, tokenizer.mask_id, ids)
        words = np.where(to_random, rng.integers(tokenizer.vocabulary_size, size=len(ids)), words)
        return {"text_ids": words, "text_labels": np.where(chosen, ids, -1)}

    def _regions(self, sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        features, mask = sample["image_feat"], sample["image_mask"]
        choice, fate = rng.random((2, len(mask)))
        chosen = (mask == 1) & (choice < self.region_rate)
        hidden = chosen & (fate < self.zero_share)
        with_global = np.empty((len(mask) + 1, features.shape[1]), np.float32)
        with_global[1:] = features
        with_global[1:][hidden] = 0
        # Divided by all real regions, the hidden ones included.
        real = int(mask.sum())
        with_global[1 : real + 1].sum(axis=0, out=with_global[0])
        with_global[0] /= max(real, 1)
        boxes = np.empty((len(mask) + 1, sample["image_loc"].shape[1]), np.float32)
        boxes[0], boxes[1:] = (0, 0, 1, 1, 1), sample["image_loc"]
        return {
            "image_feat": with_global,
            "image_loc": boxes,
            "image_mask": np.concatenate([[1], mask]),
            "image_label": np.where(chosen, 1, -1),
        }

    def _actions(self, sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        mask, features = sample["action_mask"], sample["action_feat"].copy()
        choice, fate = rng.random((2, len(mask)))
        chosen = (mask == 1) & (choice < self.action_rate)
        hidden = chosen & (fate < self.zero_share)
        if hidden.sum() == mask.sum():
            # Layer normalisation of nothing but zeros multiplies gradients by a million, layer
            # after layer: the first action stays.
            hidden[:1] = False
        features[hidden] = 0
        classes = sample.get("action_target", np.zeros(len(mask), np.int64))
        return {
            "action_feat": features,
            "action_mask": mask,
            "action_label": np.where(chosen, classes, -1),
        }
