"""Saves and loads an optimizer's state under structured names.

Paddle's names come from the order in which layers are built (``linear_1.w_0``), and those of the
optimizer's arrays add a counter (``linear_1.w_0_moment1_0``). Another order, or a second optimizer
in the same process, gives different names. Here the key is
``<structured name>/<kind>``, such as ``backbone.pooler.weight/moment1``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import paddle
from paddle import Tensor
from paddle.base.layer_helper import LayerHelper
from paddle.optimizer.lr import LRScheduler

from paddlevideo.solver.optimizer import named_parameters
from paddlevideo.utils.errors import WeightsError
from paddlevideo.utils.finite import describe_non_finite
from paddlevideo.utils.printable import some

SCHEDULE_KEY = "LR_Scheduler"
MASTER_WEIGHT = "master_weight"


def state_by_structured_name(
    optimizer: Any, parameters: paddle.nn.Layer | Iterable[tuple[str, Tensor]]
) -> dict[str, Any]:
    """Returns copies of the optimizer's arrays, and its schedule's state as ``LR_Scheduler``.

    Parameters that have never had a gradient have no arrays. bfloat16 is returned as uint16.

    Args:
        optimizer: the result of ``build_optimizer``, possibly wrapped by Fleet.
        parameters: the model, or pairs of structured name and parameter.
    """
    optimizer = unwrapped(optimizer)
    state: dict[str, Any] = {
        key: array.numpy().copy() for key, array in _arrays(optimizer, parameters)
    }
    schedule = optimizer._learning_rate
    if isinstance(schedule, LRScheduler):
        state[SCHEDULE_KEY] = dict(schedule.state_dict())
    return state


def master_weights(optimizer: Any) -> Mapping[str, Tensor]:
    """Returns the float32 copies of half parameters by Paddle's names; made at the first step."""
    masters: Mapping[str, Tensor] = unwrapped(optimizer)._master_weights
    return masters


def masters_in(state: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the float32 copies by structured name in a state of the optimizer."""
    end = f"/{MASTER_WEIGHT}"
    return {key.removesuffix(end): array for key, array in state.items() if key.endswith(end)}


def load_state_by_structured_name(
    optimizer: Any,
    parameters: paddle.nn.Layer | Iterable[tuple[str, Tensor]],
    state: Mapping[str, Any],
) -> None:
    """Restores what ``state_by_structured_name`` returned, also for a rebuilt model.

    Changes nothing unless everything fits.

    Args:
        optimizer: the result of ``build_optimizer`` for the same configuration.
        parameters: the model, or pairs of structured name and parameter.
        state: the saved state.

    Raises:
        WeightsError: an array is unknown to this optimizer, missing, of another shape or type, or
            not finite.
    """
    optimizer = unwrapped(optimizer)
    names = {parameter.name for parameter in optimizer._parameter_list}
    everything = named_parameters(parameters)
    named = [(name, parameter) for name, parameter in everything if parameter.name in names]
    elsewhere = {name for name, _ in everything} - {name for name, _ in named}
    saved = {
        key: np.asarray(value)
        for key, value in state.items()
        if key != SCHEDULE_KEY and key.rsplit("/", 1)[0] not in elsewhere
    }
    stepped = {key.rsplit("/", 1)[0] for key in saved}
    _create_arrays(optimizer, [parameter for name, parameter in named if name in stepped])
    arrays = dict(_arrays(optimizer, named))
    _check_fit(arrays, saved)
    for key, array in arrays.items():
        array.set_value(saved[key])
    if (fused := getattr(optimizer, "fused_updates", None)) is not None:
        fused.regroup()
    schedule = optimizer._learning_rate
    if isinstance(schedule, LRScheduler) and SCHEDULE_KEY in state:
        schedule.set_state_dict(state[SCHEDULE_KEY])


def unwrapped(optimizer: Any) -> Any:
    """Returns the optimizer inside Fleet's wrappers."""
    while hasattr(optimizer, "_inner_opt"):
        optimizer = optimizer._inner_opt
    return optimizer


def _arrays(
    optimizer: Any, parameters: paddle.nn.Layer | Iterable[tuple[str, Tensor]]
) -> Iterator[tuple[str, Tensor]]:
    """Yields the keys and arrays of the optimizer that exist so far."""
    masters = optimizer._master_weights
    names = {}
    for name, parameter in named_parameters(parameters):
        names[parameter.name] = name
        if parameter.name in masters:
            names[masters[parameter.name].name] = name
            yield f"{name}/{MASTER_WEIGHT}", masters[parameter.name]
    for kind, by_parameter in optimizer._accumulators.items():
        for automatic_name, array in by_parameter.items():
            yield f"{names[automatic_name]}/{kind}", array


def _create_arrays(optimizer: Any, parameters: list[Tensor]) -> None:
    """Creates the arrays that the optimizer would create at its first step."""
    if optimizer.helper is None:  # Paddle 2.6 makes it at the first step only
        optimizer.helper = LayerHelper(type(optimizer).__name__)
    block = paddle.static.default_main_program().global_block()
    optimizer._create_accumulators(block, parameters)


def _check_fit(arrays: Mapping[str, Tensor], saved: Mapping[str, np.ndarray]) -> None:
    """Raises WeightsError, with examples, unless the saved arrays fit the optimizer."""
    errors = [f"{key}: this optimizer has no such array" for key in saved if key not in arrays]
    for key, array in arrays.items():
        expected, actual = array.numpy(), saved.get(key)
        if actual is None:
            errors.append(f"{key}: missing")
        elif (actual.dtype, actual.shape) != (expected.dtype, expected.shape):
            errors.append(
                f"{key}: {actual.dtype}{actual.shape} saved, {expected.dtype}{expected.shape} "
                "expected"
            )
        elif bad := describe_non_finite(actual):
            errors.append(f"{key} {bad}")
    if errors:
        raise WeightsError(
            f"the saved optimizer state does not fit: {some(errors, separator='; ')}. Resume with "
            "the same model and OPTIMIZER, or start from the weights alone (-w)"
        )
