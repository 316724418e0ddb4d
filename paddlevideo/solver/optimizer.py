"""Optimizers under the names that YAML files use.

The fields of these dataclasses are the keys under ``OPTIMIZER``. Instantiating one checks the
values without a model; ``create`` builds the optimizer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import paddle
from paddle.optimizer.lr import LRScheduler

from paddlevideo.registry import OPTIMIZERS, did_you_mean
from paddlevideo.solver.fused import fuse_updates, fuses_updates
from paddlevideo.solver.groups import Named, exempt_names, freeze, scale_rates
from paddlevideo.solver.penalty import add_penalties
from paddlevideo.solver.schedules import make_schedule
from paddlevideo.utils.errors import ConfigError
from paddlevideo.utils.ranges import Fraction, NonNegative, Positive, Range

CLIPS = {
    "ClipGradByGlobalNorm": paddle.nn.ClipGradByGlobalNorm,
    "ClipGradByNorm": paddle.nn.ClipGradByNorm,
    "ClipGradByValue": paddle.nn.ClipGradByValue,
}
CLIP_SHORT_NAMES = {
    "global": "ClipGradByGlobalNorm",
    "norm": "ClipGradByNorm",
    "value": "ClipGradByValue",
}
PENALTIES = {"L1": paddle.regularizer.L1Decay, "L2": paddle.regularizer.L2Decay}
DECOUPLED = "Decoupled"


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """The settings of all optimizers.

    Args:
        learning_rate: a number, or a map with the ``name`` of a schedule and its values.
        weight_decay: a number (decoupled for AdamW and Lamb, L2 for the others), or a map of
            ``name`` (L1, L2, Decoupled) and ``value``.
        grad_clip: a map of ``name`` (ClipGradByGlobalNorm or global, ClipGradByNorm or norm,
            ClipGradByValue or value) and ``value``.
        no_weight_decay_name: parameters whose name contains one of these words, separated by
            spaces, have no weight decay.
        lr_scale: a list of maps of ``match`` (a regular expression found in parameters' names) and
            ``scale`` (a factor on their learning rate). The first rule that matches applies.
        layer_decay: ratio of the learning rate of a stream's layer to that of the layer above it.
        freeze: regular expressions; parameters whose names match one are not trained.
    """

    learning_rate: NonNegative | dict
    weight_decay: NonNegative | dict | None = None
    grad_clip: dict | None = None
    no_weight_decay_name: str = ""
    lr_scale: list[dict] | None = None
    layer_decay: Annotated[float, Range(above=0, at_most=1)] = 1.0
    freeze: list[str] | None = None

    #: Paddle's class, and whether it can keep float32 copies of float16 weights.
    paddle_class: ClassVar[Any]
    has_master_weights: ClassVar[bool] = True
    #: Whether weight decay is decoupled from the gradient.
    decouples: ClassVar[bool] = False

    def __post_init__(self) -> None:
        make_schedule(self.learning_rate)
        self.decay()
        self.clip()
        self.scales()
        _check_number("layer_decay", self.layer_decay, Range(above=0, at_most=1))

    def decay(self) -> tuple[str, float]:
        """Returns the kind of weight decay (L1, L2, Decoupled) and its strength, 0 for none."""
        default = DECOUPLED if self.decouples else "L2"
        if not isinstance(self.weight_decay, Mapping):
            return default, float(self.weight_decay or 0.0)
        name, value = _name_and_value(self.weight_decay, "weight_decay")
        known = [DECOUPLED] if self.decouples else list(PENALTIES)
        if name not in known:
            raise ConfigError(
                f'OPTIMIZER.weight_decay.name is "{name}".{did_you_mean(name, known)} '
                f"{type(self).__name__} supports {' or '.join(known)}: AdamW and Lamb decay the "
                "weights themselves, the others add a penalty to the gradient"
            )
        _check_number("weight_decay.value", value, Range(at_least=0))
        return name, value

    def clip(self) -> Any:
        """Returns Paddle's gradient clipping, or None."""
        if self.grad_clip is None:
            return None
        name, value = _name_and_value(self.grad_clip, "grad_clip")
        full = CLIP_SHORT_NAMES.get(name.lower(), name)
        if full not in CLIPS:
            known = [*CLIPS, *CLIP_SHORT_NAMES]
            raise ConfigError(
                f'OPTIMIZER.grad_clip.name is "{name}".{did_you_mean(name, known)} '
                f"Known: {', '.join(known)}"
            )
        _check_number("grad_clip.value", value, Range(above=0))
        return CLIPS[full](value)

    def scales(self) -> list[tuple[re.Pattern[str], float]]:
        """Returns the rules of ``lr_scale``."""
        rules = []
        for index, rule in enumerate(self.lr_scale or []):
            where = f"OPTIMIZER.lr_scale.{index}"
            if not isinstance(rule, Mapping) or set(rule) != {"match", "scale"}:
                raise ConfigError(f"{where} is {rule}; expected {{match: ..., scale: ...}}")
            try:
                rules.append((re.compile(rule["match"]), float(rule["scale"])))
            except (re.error, TypeError, ValueError) as error:
                raise ConfigError(f"{where}: {rule} is not usable: {error}") from None
            _check_number(f"lr_scale.{index}.scale", rules[-1][1], Range(at_least=0))
        return rules

    def specific_arguments(self) -> dict[str, Any]:
        """Returns the arguments of Paddle's class that not all optimizers have."""
        shared = OptimizerSettings.__dataclass_fields__
        return {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name not in shared
        }

    def decay_arguments(self, strength: float, exempt: set[str]) -> dict[str, Any]:
        """Returns the arguments for decoupled weight decay; ``exempt``: Paddle's own names."""
        return {}

    def create(self, schedule: LRScheduler | float, named: Named, multi_precision: bool) -> Any:
        """Returns the optimizer of these parameters."""
        kind, strength = self.decay()
        exempt = exempt_names(named, self.no_weight_decay_name.split())
        penalty = None if self.decouples or not strength else PENALTIES[kind](strength)
        for name, parameter in named:
            # Not through Paddle's parameter groups: each clips by its own norm.
            parameter.regularizer = None if name in exempt else penalty
        scale_rates(named, self.scales(), self.layer_decay)
        precision = {"multi_precision": multi_precision} if self.has_master_weights else {}
        optimizer = self.paddle_class(
            learning_rate=schedule,
            parameters=[parameter for _, parameter in named],
            grad_clip=self.clip(),
            **self.decay_arguments(strength, {p.name for name, p in named if name in exempt}),
            **self.specific_arguments(),
            **precision,
        )
        if penalty is not None:
            add_penalties(optimizer, kind, strength)
        if fuses_updates():
            fuse_updates(optimizer, strength if kind == "L2" else 0.0)
        return optimizer


#: The former name, for users' optimizers.
Recipe = OptimizerSettings


@OPTIMIZERS.register()
@dataclass(frozen=True, kw_only=True)
class SGD(OptimizerSettings):
    """Plain stochastic gradient descent."""

    paddle_class = paddle.optimizer.SGD


@OPTIMIZERS.register()
@dataclass(frozen=True, kw_only=True)
class Momentum(OptimizerSettings):
    """Gradient descent with momentum."""

    momentum: Fraction = 0.9
    use_nesterov: bool = False

    paddle_class = paddle.optimizer.Momentum


@OPTIMIZERS.register()
@dataclass(frozen=True, kw_only=True)
class RMSProp(OptimizerSettings):
    """Gradient descent scaled by a running mean of squared gradients."""

    rho: Fraction = 0.95
    epsilon: Positive = 1e-6
    momentum: Fraction = 0.0
    centered: bool = False

    paddle_class = paddle.optimizer.RMSProp
    has_master_weights = False


@dataclass(frozen=True, kw_only=True)
class MomentSettings(OptimizerSettings):
    """Settings of the optimizers with running means of gradients and of their squares."""

    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    epsilon: Positive = 1e-8


@OPTIMIZERS.register()
@dataclass(frozen=True, kw_only=True)
class Adam(MomentSettings):
    """Adam; weight decay is L2 regularization, added to the gradient."""

    lazy_mode: bool = False

    paddle_class = paddle.optimizer.Adam


@OPTIMIZERS.register()
@dataclass(frozen=True, kw_only=True)
class Adamax(MomentSettings):
    """Adam with the infinity norm."""

    paddle_class = paddle.optimizer.Adamax
    has_master_weights = False


@OPTIMIZERS.register()
@dataclass(frozen=True, kw_only=True)
class AdamW(MomentSettings):
    """Adam with decoupled weight decay."""

    weight_decay: NonNegative | dict | None = 0.01
    lazy_mode: bool = False

    paddle_class = paddle.optimizer.AdamW
    decouples = True

    def decay_arguments(self, strength: float, exempt: set[str]) -> dict[str, Any]:
        """Returns the arguments; Paddle passes its own parameter names to the function."""
        return {
            "weight_decay": strength,
            "apply_decay_param_fun": lambda name: name not in exempt,
        }


@OPTIMIZERS.register()
@dataclass(frozen=True, kw_only=True)
class Lamb(MomentSettings):
    """Adam with a trust ratio per layer, for large batches."""

    weight_decay: NonNegative | dict | None = 0.01
    epsilon: Positive = 1e-6

    paddle_class = paddle.optimizer.Lamb
    decouples = True

    def decay_arguments(self, strength: float, exempt: set[str]) -> dict[str, Any]:
        """Returns the arguments; Paddle passes the parameter to the function."""
        return {
            "lamb_weight_decay": strength,
            "exclude_from_weight_decay_fn": lambda parameter: parameter.name in exempt,
        }


def build_optimizer(
    config: Mapping[str, Any],
    schedule: LRScheduler | float,
    parameters: paddle.nn.Layer | Iterable[tuple[str, paddle.Tensor]],
    multi_precision: bool = False,
) -> paddle.optimizer.Optimizer:
    """Returns the optimizer that the section ``OPTIMIZER`` describes, for the trainable parameters.

    Args:
        config: the section: ``name``, ``learning_rate`` and the fields of that optimizer.
        schedule: the result of ``build_schedule`` for ``learning_rate``, or a number.
        parameters: a model, or pairs of structured name and parameter.
        multi_precision: keep float32 copies of float16 or bfloat16 weights (AMP level O2).

    Raises:
        ConfigError: the name is unknown, a value is invalid, a rule matches no parameter, or the
            optimizer cannot keep float32 copies.
    """
    settings = OPTIMIZERS.build(config)
    if multi_precision and not settings.has_master_weights:
        capable = [
            name
            for name in OPTIMIZERS
            if getattr(OPTIMIZERS.get(name), "has_master_weights", False)
        ]
        raise ConfigError(
            f"OPTIMIZER.name: {config['name']} keeps no float32 copies of the weights, which "
            f"--amp_level O2 needs. Use O1, or one of {', '.join(capable)}"
        )
    everything = named_parameters(parameters)
    freeze(everything, settings.freeze or ())
    named = [pair for pair in everything if not pair[1].stop_gradient]
    if not named:
        raise ConfigError("the model has no trainable parameters: is every layer frozen?")
    return settings.create(schedule, named, multi_precision)


def named_parameters(
    parameters: paddle.nn.Layer | Iterable[tuple[str, paddle.Tensor]],
) -> Named:
    """Returns structured names and parameters; a shared parameter once, by its first name.

    A ``paddle.DataParallel`` is unwrapped.
    """
    if isinstance(parameters, paddle.DataParallel):
        parameters = parameters._layers
    if isinstance(parameters, paddle.nn.Layer):
        parameters = parameters.named_parameters()
    first: dict[int, tuple[str, paddle.Tensor]] = {}
    for name, parameter in parameters:
        first.setdefault(id(parameter), (name, parameter))
    return list(first.values())


def _check_number(key: str, value: float, bounds: Range) -> None:
    if value not in bounds:
        raise ConfigError(f"OPTIMIZER.{key} is {value}; expected {bounds}")


def _name_and_value(entry: Mapping[str, Any], key: str) -> tuple[str, float]:
    """Returns the entries of a map with the keys ``name`` and ``value``."""
    if set(entry) != {"name", "value"} or isinstance(entry["value"], (str, bool)):
        raise ConfigError(
            f"OPTIMIZER.{key} is {dict(entry)}; expected {{name: ..., value: a number}}"
        )
    return str(entry["name"]), float(entry["value"])
