"""Principal components of clips' features, fitted before the first step.

B clips, F features of a clip: its global region and the mean of its actions; K components.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn

from paddlevideo.modeling.heads.clip_features import ClipFeatures
from paddlevideo.modeling.transfer import to_tensors
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
        self.features = ClipFeatures(sizes)
        features = self.features.width
        if components > features:
            raise ConfigError(
                f"MODEL.head.components is {components}, but a clip has only {features} features"
            )
        self.components = components
        self.register_buffer("feature_mean", paddle.zeros([features]))
        self.register_buffer("feature_scale", paddle.zeros([features]))
        self.register_buffer("axes", paddle.zeros([features, components]))

    def forward(self, batch: Mapping[str, Any]) -> Tensor:
        """Returns the components (B, K) float32 of a batch of tensors."""
        mean, scale, axes = (
            buffer.astype("float32")
            for buffer in (self.feature_mean, self.feature_scale, self.axes)
        )
        return paddle.matmul((self.features(batch) - mean) * scale, axes)

    def fit(self, batches: Iterable[Mapping[str, Any]], total: Total) -> None:
        """Fits to all ranks' samples; a clip counts once for each of its questions.

        Raises DataError if they are fewer than two or not finite.
        """
        size = self.feature_mean.shape[0]
        count, sums, products = np.zeros(1), np.zeros(size), np.zeros((size, size))
        for batch in batches:
            x = self.features(to_tensors(batch)).numpy().astype(np.float64)
            count, sums, products = count + len(x), sums + x.sum(axis=0), products + x.T @ x
        count, sums, products = total(count), total(sums), total(products)
        if count[0] < 2:
            raise DataError(f"BlankHead: {count[0]:g} samples; at least 2 are needed")
        mean = sums / count
        if not np.isfinite(products).all():
            raise DataError(
                "BlankHead: a clip's features are not finite (try paddlevideo validate)"
            )
        covariance = products / count - np.outer(mean, mean)
        deviation = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        constant = deviation <= 1e-6 * (1 + np.abs(mean))
        scale = np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, deviation))
        variance, axes = np.linalg.eigh(covariance * np.outer(scale, scale))  # ascending
        axes, variance = axes[:, ::-1][:, : self.components], variance[::-1][: self.components]
        axes = axes / max(np.sqrt(variance.mean()), 1e-12)
        for name, value in {"feature_mean": mean, "feature_scale": scale, "axes": axes}.items():
            buffer = getattr(self, name)
            buffer.set_value(paddle.to_tensor(value.astype(np.float32)).astype(buffer.dtype))
