"""The features of clips that maps in closed form start from.

B clips, F features of a clip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import paddle
from paddle import Tensor

#: The streams that a map may start from: the global region, and the mean of the actions.
ClipStreams = Sequence[Literal["regions", "actions"]]
WIDTHS = {"regions": "image_feat", "actions": "action_feat"}


class ClipFeatures:
    """Reads the features (B, F) of batches: those of each of ``streams``, concatenated.

    Regions come first: weights would not tell in which order the streams were named.
    """

    def __init__(
        self, sizes: Mapping[str, int], streams: ClipStreams = ("regions", "actions")
    ) -> None:
        """``sizes``: the widths of ``image_feat`` and ``action_feat``."""
        self.streams = tuple(name for name in WIDTHS if name in streams)
        #: The number of features of each stream.
        self.parts = tuple(sizes[WIDTHS[name]] for name in self.streams)

    @property
    def width(self) -> int:
        """F."""
        return sum(self.parts)

    def __call__(self, batch: Mapping[str, Any]) -> Tensor:
        """Returns the features (B, F) float32 of a batch of tensors."""
        read = {"regions": _global_region, "actions": _mean_action}
        return paddle.concat([read[name](batch) for name in self.streams], axis=-1)


def _global_region(batch: Mapping[str, Any]) -> Tensor:
    return batch["image_feat"][:, 0].astype("float32")


def _mean_action(batch: Mapping[str, Any]) -> Tensor:
    """Returns the mean of the real actions: those of zeros are padding, which tests do not mask."""
    actions = batch["action_feat"].astype("float32")
    real = paddle.any(actions != 0, axis=-1).astype("float32")
    real = (real * batch["action_mask"].astype("float32")).unsqueeze(-1)
    return (actions * real).sum(axis=1) / paddle.clip(real.sum(axis=1), min=1.0)
