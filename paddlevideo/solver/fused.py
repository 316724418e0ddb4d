"""Updates many parameters by one operator.

On a GPU the host takes longer to start an operator than a small one takes to run, and a model has
hundreds of parameters. On a CPU one operator per parameter costs nothing, and needs fewer copies.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import paddle
from paddle import Tensor, _C_ops

#: Numbers that a thread block of Adam's kernel updates.
CHUNK = 1 << 16
#: The operators have fewer arguments before.
HAS_OPERATORS = not paddle.__version__.startswith("2.")


def fuses_updates() -> bool:
    """Returns whether to update many parameters at once: on GPUs, with Paddle 3.

    The variable PADDLEVIDEO_FUSED_UPDATES=1 does so on CPUs too, and 0 on none.
    """
    asked = os.environ.get("PADDLEVIDEO_FUSED_UPDATES", "")
    on_gpu = paddle.device.get_device().startswith("gpu")
    return HAS_OPERATORS and (asked == "1" or (on_gpu and asked != "0"))


def squared_norm(gradients: list[Tensor]) -> Tensor:
    """Returns the sum of all squares, one float32 number.

    On GPUs at the cost of a copy; on CPUs one gradient after the other, without copies.
    """
    if fuses_updates() and all(gradient.dtype == paddle.float32 for gradient in gradients):
        _, flat = _C_ops.coalesce_tensor(
            gradients, paddle.float32, True, False, False, 0.0, False, -1, -1, [], []
        )
        return _C_ops.squared_l2_norm(flat)
    squares = (_C_ops.squared_l2_norm(gradient.astype("float32")) for gradient in gradients)
    return paddle.stack([square.reshape([]) for square in squares]).sum()


def multiply(gradients: Sequence[Tensor], factor: float) -> None:
    """Multiplies ``gradients`` in place, all of a type at once where that is faster."""
    if not fuses_updates():
        for gradient in gradients:
            gradient.scale_(factor)
        return
    for dtype in dict.fromkeys(gradient.dtype for gradient in gradients):
        same = [gradient for gradient in gradients if gradient.dtype == dtype]
        _C_ops.check_finite_and_unscale_(same, paddle.full([1], 1.0 / factor))


def blend(targets: list[Tensor], sources: list[Tensor], factor: float, keep: float = 1.0) -> None:
    """Makes each of ``targets`` ``keep`` * target + ``factor`` * source, in place; float32.

    A step of momentum with L2 but without a learning rate: the targets are in the place of both
    velocities and gradients. The sources stay as they are.
    """
    count = len(targets)
    rates, masters = [paddle.zeros([1])], cast("Any", None)
    kinds, factors = ["l2_decay"] * count, [factor] * count
    _C_ops.merged_momentum_(
        sources, targets, targets, rates, masters, keep - 1.0, False, kinds, factors, False, 1.0
    )


class Group(NamedTuple):
    """Parameters that are updated alike, and their arrays."""

    parameters: list[Tensor]
    moments: tuple[list[Tensor], list[Tensor]]
    powers: tuple[list[Tensor], list[Tensor]]  # beta1 and beta2 to the number of steps taken
    decay: float


class FusedUpdates:
    """Adam's or AdamW's updates of float32 parameters, one operator for each group.

    A group has one factor on the learning rate, one weight decay and, because Paddle's kernel for
    GPUs reads them from its first parameter, the same number of steps. Half parameters, sparse
    gradients and lazy updates are left to Paddle.
    """

    def __init__(self, optimizer: Any, l2: float = 0.0) -> None:
        """``l2``: strength of the penalty on parameters with a regularizer, which must be L2."""
        self.optimizer, self.l2 = optimizer, l2
        self._pairs: list[tuple[Tensor, Tensor]] = []
        self._penalised: list[tuple[Tensor, Tensor]] = []
        self._groups: list[Group] = []
        self._grouped: list[str] = []
        self._update_alone = optimizer._append_optimize_op
        self._penalise_alone = optimizer._create_regularization_of_grad
        # Paddle calls these for each parameter, and then once for all.
        optimizer._create_regularization_of_grad = self._penalise
        optimizer._append_optimize_op = self._update
        optimizer._finish_update = self._finish
        optimizer.fused_updates = self

    def regroup(self) -> None:
        """Forms new groups at the next step; call it after arrays were loaded."""
        self._grouped = []

    def _penalise(self, parameter: Tensor, gradient: Tensor | None, default: Any = None) -> Any:
        if not (self.l2 and parameter.regularizer is not None and fits(parameter, gradient)):
            return self._penalise_alone(parameter, gradient, default)
        self._penalised.append((parameter, gradient))
        return gradient

    def _update(self, block: Any, pair: tuple[Tensor, Tensor]) -> Any:
        if not fits(*pair):
            return self._update_alone(block, pair)
        self._pairs.append(pair)
        return None

    def _finish(self, block: Any, pairs: Any) -> None:
        """Takes the step for the parameters that were collected."""
        if self._penalised:
            sources, targets = (list(items) for items in zip(*self._penalised, strict=True))
            blend(targets, sources, self.l2)
        names = [parameter.name for parameter, _ in self._pairs]
        if names != self._grouped:
            self._groups, self._grouped = self._make_groups(), names
        gradients = dict(zip(names, (gradient for _, gradient in self._pairs), strict=True))
        for group in self._groups:
            self._step(group, [gradients[parameter.name] for parameter in group.parameters])
        self._pairs, self._penalised = [], []

    def _make_groups(self) -> list[Group]:
        array = self.optimizer._get_accumulator_master
        by_kind: dict[tuple, list[Tensor]] = {}
        for parameter, _ in self._pairs:
            power = array("beta1_pow_acc", parameter)
            key = (
                parameter.optimize_attr["learning_rate"],
                self._decay(parameter),
                power.item(),
                power.place.is_cpu_place(),
            )
            by_kind.setdefault(key, []).append(parameter)

        def arrays(parameters: list[Tensor], *kinds: str) -> Any:
            return tuple([array(kind, parameter) for parameter in parameters] for kind in kinds)

        return [
            Group(
                parameters,
                arrays(parameters, "moment1", "moment2"),
                arrays(parameters, "beta1_pow_acc", "beta2_pow_acc"),
                decay,
            )
            for (_, decay, *_), parameters in by_kind.items()
        ]

    def _decay(self, parameter: Tensor) -> float:
        """Returns AdamW's weight decay of a parameter."""
        if not isinstance(self.optimizer, paddle.optimizer.AdamW):
            return 0.0
        decays = self.optimizer._apply_decay_param_fun
        return self.optimizer._weight_decay if decays is None or decays(parameter.name) else 0.0

    def _step(self, group: Group, gradients: list[Tensor]) -> None:
        optimizer = self.optimizer
        rate = optimizer._create_param_lr((group.parameters[0], gradients[0]))
        _C_ops.fused_adam_(
            group.parameters, gradients, rate, *group.moments, None, *group.powers, None, None,
            optimizer._beta1, optimizer._beta2, optimizer._epsilon, CHUNK, group.decay,
            isinstance(optimizer, paddle.optimizer.AdamW), False, False, False,
        )  # fmt: skip


def fits(parameter: Tensor, gradient: Tensor | None) -> bool:
    """Returns whether the parameter, and with it its gradient, is float32, and that dense."""
    return gradient is not None and gradient.is_dense() and parameter.dtype == paddle.float32


def fuse_updates(optimizer: Any, l2: float = 0.0) -> None:
    """Makes ``optimizer`` update all its parameters at once, if it is Adam or AdamW.

    ``l2``: see ``FusedUpdates``.
    """
    is_adam = type(optimizer) in {paddle.optimizer.Adam, paddle.optimizer.AdamW}
    if is_adam and not optimizer._lazy_mode:
        FusedUpdates(optimizer, l2)
