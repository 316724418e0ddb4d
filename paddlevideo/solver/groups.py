"""Selects the trained parameters and scales their learning rates, by their names."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import paddle

from paddlevideo.utils.errors import ConfigError

logger = logging.getLogger(__name__)

Named = list[tuple[str, paddle.Tensor]]
#: Layers of a stream by index, and the embeddings below them.
_LAYER = re.compile(r"encoder\.layers\.(?P<stream>\w+)\.(?P<index>\d+)\.")
_BELOW = {"text_embeddings": "text", "region_embeddings": "regions", "action_embeddings": "actions"}


def freeze(named: Iterable[tuple[str, paddle.Tensor]], patterns: Sequence[str]) -> None:
    """Freezes parameters whose names match one of the regular expressions.

    Raises ConfigError if a pattern matches no parameter or is not a regular expression.
    """
    for pattern in patterns:
        try:
            matches = [parameter for name, parameter in named if re.search(pattern, name)]
        except re.error as error:
            raise ConfigError(
                f'OPTIMIZER.freeze: "{pattern}" is not a regular expression: {error}'
            ) from None
        if not matches:
            raise ConfigError(f'OPTIMIZER.freeze: no parameter matches "{pattern}"')
        for parameter in matches:
            parameter.stop_gradient = True


def layer_factors(names: Sequence[str], decay: float) -> dict[str, float]:
    """Returns each parameter's factor on the learning rate: ``decay`` to the power of its depth.

    A stream's topmost layer has depth 1, the one below it 2, its embeddings one more than its
    lowest layer; tangled layers, poolers and heads have depth 0. For one stream this is the
    discriminative fine-tuning of Howard and Ruder 2018 (ULMFiT).
    """
    layers = {name: match for name in names if (match := _LAYER.search(name))}
    counts: Counter[str] = Counter()
    for match in layers.values():
        counts[match["stream"]] = max(counts[match["stream"]], 1 + int(match["index"]))
    factors = {}
    for name in names:
        below = next((stream for part, stream in _BELOW.items() if part in name), None)
        if match := layers.get(name):
            depth = counts[match["stream"]] - int(match["index"])
        else:
            depth = counts[below] + 1 if below else 0
        factors[name] = decay**depth
    return factors


def exempt_names(named: Named, words: list[str]) -> set[str]:
    """Returns the names that contain one of ``words``. Warns if no name contains a word."""
    for word in words:
        if not any(word in name for name, _ in named):
            logger.warning('no_weight_decay_name: no trainable parameter contains "%s"', word)
    return {name for name, _ in named if any(word in name for word in words)}


def scale_rates(
    named: Named, rules: list[tuple[re.Pattern[str], float]], layer_decay: float = 1.0
) -> None:
    """Sets each parameter's factor on the learning rate: its layer's times its rule's."""
    factors = layer_factors([name for name, _ in named], layer_decay)
    unused = {pattern.pattern for pattern, _ in rules}
    for name, parameter in named:
        pattern, scale = next((rule for rule in rules if rule[0].search(name)), (None, 1.0))
        parameter.optimize_attr["learning_rate"] = scale * factors[name]
        if pattern is not None:
            unused.discard(pattern.pattern)
    if unused:
        raise ConfigError(
            f"OPTIMIZER.lr_scale: {', '.join(sorted(unused))} matches no trainable parameter "
            f"that an earlier rule does not match. Names look like {named[0][0]}"
        )


def rate_factors(parameters: Iterable[paddle.Tensor]) -> tuple[float, float]:
    """Returns the lowest and the highest factor on the learning rate of trained parameters."""
    trained = (parameter for parameter in parameters if not parameter.stop_gradient)
    factors = {parameter.optimize_attr["learning_rate"] for parameter in trained} or {1.0}
    return min(factors), max(factors)
