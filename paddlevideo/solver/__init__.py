"""Learning-rate schedules and optimizers, built from the configuration."""

from __future__ import annotations

from paddlevideo.solver.optimizer import build_optimizer, named_parameters
from paddlevideo.solver.scheduler import Pace, StepScheduler, build_schedule
from paddlevideo.solver.schedules import Clock, Schedule, make_schedule
from paddlevideo.solver.state import load_state_by_structured_name, state_by_structured_name

__all__ = [
    "Clock",
    "Schedule",
    "Pace",
    "StepScheduler",
    "build_optimizer",
    "build_schedule",
    "load_state_by_structured_name",
    "make_schedule",
    "named_parameters",
    "state_by_structured_name",
]
