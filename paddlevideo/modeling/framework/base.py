"""The interface between models and the training and test loops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from paddle import Tensor, nn

from paddlevideo.utils.errors import ConfigError, WeightsError
from paddlevideo.utils.limits import Limits

Batch = Mapping[str, Any]
#: Maps rows (n, ...) of this rank to a list of all ranks' rows, and this rank's index in it.
Gather = Callable[[Tensor], tuple[list[Tensor], int]]

#: Hooks of earlier versions: renamed ones, and those that moved to predictors.
RENAMED_HOOKS = {
    "adopt": "apply_validation_choice",
    "adopts": "has_validation_choice",
    "work": "progress_units",
    "connect": "set_gather",
    "fits": "num_fit_samples",
}
REMOVED_HOOKS = ("has_first_stage", "first_stage", "shortlist")


class BaseFramework(nn.Layer):
    """A model that ``main.py`` can train: subclass it and register it in ``FRAMEWORKS``.

    Only ``forward`` is required. A batch is a dict of numpy arrays with one row per sample.
    """

    def __init_subclass__(cls) -> None:
        """Accepts hooks under their former names. Raises ConfigError for removed ones."""
        super().__init_subclass__()
        own: dict[str, Any] = {}
        for base in reversed(cls.__mro__):  # a mixin's hooks too
            if base is cls or not issubclass(base, nn.Layer):
                own.update(vars(base))
        for old, new in RENAMED_HOOKS.items():
            if old in own and new not in own:
                setattr(cls, new, own[old])
        if gone := [name for name in REMOVED_HOOKS if name in own]:
            raise ConfigError(
                f"{cls.__name__} defines {', '.join(gone)}, which are no longer called: what a "
                "test computes from all samples before the first prediction belongs in the "
                "predictor that a metric returns, see paddlevideo.metrics.Metric.predictor"
            )
        if "denominators" in own:
            raise ConfigError(
                f"{cls.__name__}.denominators(batch) is now loss_counts(batch), and "
                "forward(batch, counts=None) divides each loss by its entry of counts, or of "
                "loss_counts(batch) if none are given. Without either, the losses of several "
                "batches are averaged"
            )

    def forward(self, batch: Batch, counts: Mapping[str, float] | None = None) -> dict[str, Tensor]:
        """Returns named scalar losses; ``"loss"`` is the one to minimise.

        May be ``paddlevideo.modeling.Losses``, which also carry accuracies for the log.

        Args:
            batch: numpy arrays or tensors by name.
            counts: the divisor of each loss, instead of this batch's ``loss_counts``. Only
                passed if :meth:`loss_counts` is defined.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward(batch)")

    def loss_counts(self, batch: Batch) -> dict[str, float]:
        """Returns the number of terms that each named loss of this batch is the mean of.

        The training loop sums them over micro-batches and processes and passes the sums to
        ``forward``, so that training is exactly that of one large batch. With an empty dict, the
        losses of the batches are averaged.
        """
        return {}

    def limits(self) -> Limits:
        """Returns the limits of the arrays in a sample; by default those of the backbone."""
        return getattr(getattr(self, "backbone", None), "limits", {})

    def prepare(self, context: Iterable[Batch] | None) -> Any:
        """Converts what all samples of a data set share into what ``predict`` needs."""
        return None

    def apply_validation_choice(self, results: Mapping[str, Any]) -> None:
        """Applies settings that a validation chose. Called on every rank with the same results."""

    def has_validation_choice(self) -> bool:
        """Returns whether a validation may change what is saved with the weights."""
        hook = BaseFramework.apply_validation_choice
        return type(self).apply_validation_choice is not hook

    def set_gather(self, gather: Gather) -> None:
        """Sets how rows are gathered from all ranks, for losses that compare samples."""

    def set_up_from(self, dataset: Any) -> None:
        """Takes what the model needs to know of the training data set, such as its answers.

        Called on every rank before the first step, after weights have been loaded.
        """

    def num_fit_samples(self) -> int:
        """Returns the maximum number of samples for :meth:`fit`; 0: there is nothing to fit."""
        return 0

    def fit(self, batches: Iterable[Batch], total: Callable[[np.ndarray], np.ndarray]) -> None:
        """Fits what has a closed-form solution, before the first step of a new run.

        Args:
            batches: this rank's share of the training samples, without masking.
            total: sums an array over all ranks.
        """
        raise NotImplementedError(f"{type(self).__name__} must define fit")

    def fits_on_resume(self) -> bool:
        """Returns whether :meth:`fit` runs again when a run resumes, because training needs more
        of its results than the weights contain.
        """
        return False

    def parts(self) -> dict[str, list[nn.Layer]]:
        """Returns the layers by the names under which a dry run counts their parameters.

        A shared parameter counts only in the first part.
        """
        return {name: [layer] for name, layer in self.named_children()}

    def float32_layers(self) -> list[nn.Layer]:
        """Returns the layers whose weights stay float32 at level O2 of mixed precision."""
        return []

    def recomputable(self) -> list[nn.Layer]:
        """Returns the layers that ``recompute: True`` recomputes in the backward pass."""
        return []

    def predict(self, batch: Batch, prepared: Any) -> Any:
        """Returns one row per sample for the metric: an array, a list, or a dict of these.

        By default every sample gets its batch's losses, for ``LossMetric``.
        """
        size = len(next(iter(batch.values())))
        losses = self(batch)
        return {name: np.full(size, float(loss)) for name, loss in losses.items()}

    def progress_units(self, prepared: Any) -> tuple[int, str]:
        """Returns the number of progress units per sample, and their name."""
        return 1, "samples"

    def init_weights(self) -> None:
        """Loads the weights to start training from, if the configuration names any."""

    def to_released(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Translates parameter names to those used in weight files."""
        return dict(state)

    def from_released(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Translates names used in weight files to parameter names."""
        return dict(state)

    def before_loading(self, state: Mapping[str, np.ndarray]) -> None:
        """Receives the arrays of a weight file, by our names, before they are loaded."""

    def check_loaded(self, missing: list[str]) -> None:
        """Raises WeightsError if ``missing`` contains parameters that a test needs."""
        if missing:
            raise WeightsError(
                f"the weights lack {len(missing)} parameters that the test needs: "
                f"{', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}"
            )
