"""Principal components of clips' features, fitted before the first step.

B clips, F features of a clip: its global region and the mean of its actions; K components.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn

from paddlevideo.utils.errors import ConfigError, DataError

#: Sums an array over all ranks.
Total = Callable[[np.ndarray], np.ndarray]


class ClipComponents(nn.Layer):
    """The K principal components of standardized features (Pearson 1901), of variance 1 on average.

    Mean, deviation and axes are kept with the weights.
    """

    def __init__(self, sizes: Mapping[str, int], components: int) -> None:
        """``sizes``: the widths of ``image_feat`` and ``action_feat``. Raises ConfigError."""
        super().__init__()
        features = sizes["image_feat"] + sizes["action_feat"]
        if components > features:
            raise ConfigError(
                f"MODEL.head.components is {components}, but a clip has only {features} features"
            )
        self.components = components
        self.register_buffer("feature_mean", paddle.zeros([features]))
        self.register_buffer("feature_scale", paddle.zeros([features]))
        self.register_buffer("axes", paddle.zeros([features, components]))

    @staticmethod
    def features(batch: Mapping[str, Any]) -> np.ndarray | Tensor:
        """Returns the features (B, F) of a batch of arrays or tensors."""
        parts = batch["image_feat"][:, 0], batch["action_feat"].mean(axis=1)
        if isinstance(parts[0], Tensor):
            return paddle.concat([part.astype("float32") for part in parts], axis=1)
        return np.concatenate(parts, axis=1).astype(np.float64)

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        """Returns the components (B, K) float32 of a batch of tensors."""
        mean, scale, axes = (
            buffer.astype("float32")
            for buffer in (self.feature_mean, self.feature_scale, self.axes)
        )
        return paddle.matmul((self.features(batch) - mean) * scale, axes)

    def fit(self, batches: Iterable[Mapping[str, Any]], total: Total) -> None:
        """Fits to all ranks' clips. Raises DataError if they are fewer than two or not finite."""
        size = self.feature_mean.shape[0]
        rows = [np.zeros((0, size)), *(self.features(batch) for batch in batches)]
        x = np.unique(np.concatenate(rows), axis=0)  # each clip once, however many questions
        count = int(total(np.array([len(x)], np.float64))[0])
        if count < 2:
            raise DataError(f"BlankHead: {count} different clips; at least 2 are needed")
        mean = total(x.sum(axis=0)) / count
        if not np.isfinite(mean).all():
            raise DataError(
                "BlankHead: a clip's features are not finite (try paddlevideo validate)"
            )
        deviation = np.sqrt(total(((x - mean) ** 2).sum(axis=0)) / count)
        constant = deviation <= 1e-6 * (1 + np.abs(mean))
        scale = np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, deviation))
        x = (x - mean) * scale
        variance, axes = np.linalg.eigh(total(x.T @ x) / count)
        axes = axes[:, ::-1][:, : self.components]
        spread = np.sqrt(np.mean(variance[::-1][: self.components]))
        for name, value in {
            "feature_mean": mean,
            "feature_scale": scale,
            "axes": axes / max(spread, 1e-12),
        }.items():
            buffer = getattr(self, name)
            buffer.set_value(paddle.to_tensor(value.astype(np.float32)).astype(buffer.dtype))
