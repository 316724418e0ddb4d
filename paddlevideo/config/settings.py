"""Run settings: the lower-case keys at the top level, and those of the sections that are no part.

The dataclasses are the schema: their names, type hints and defaults are what is checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from paddlevideo.registry import OutputPath
from paddlevideo.utils.amp_settings import AmpSettings
from paddlevideo.utils.ranges import Count, CountOrZero, Fraction, NonNegative, Range


@dataclass(frozen=True)
class RunSettings:
    """How a run goes, whatever its model and data."""

    #: Names the output folder and the files of weights.
    model_name: str = "model"
    #: Passes over the training data; needed for training.
    epochs: Count = 1
    #: Optimizer steps between two lines of the log.
    log_interval: Count = 10
    #: Epochs between two checkpoints.
    save_interval: Count = 1
    #: Optimizer steps, and minutes, between two checkpoints within an epoch; 0: none.
    save_steps: CountOrZero = 0
    save_minutes: NonNegative = 30.0
    #: Epochs between two validations, with --validate.
    val_interval: Count = 1
    #: Stop after so many validations in a row that are no better than the best; 0: never.
    patience: CountOrZero = 0
    #: Decay of a running average of the weights, as 0.999, which validations use; 0: none.
    ema_decay: Fraction = 0.0
    #: Where everything is written; output/<model_name> if it is empty.
    output_dir: OutputPath = ""
    #: Continue after this epoch's checkpoint in output_dir; 0 starts anew.
    resume_epoch: CountOrZero = 0
    #: "auto" continues from the newest checkpoint in output_dir, if there is one.
    resume: Literal["", "auto"] = ""
    #: Resume although settings have changed that decide the result.
    force: bool = False
    #: Replace the run whose checkpoints are in output_dir.
    overwrite: bool = False
    #: Weights that training starts from; "" starts from those that the model is built with.
    weights: str = ""
    #: Test on DATASET.valid while training.
    validate: bool = False
    #: Modules that register parts of your own.
    imports: Sequence[str] = ()
    #: Distribute through Paddle's Fleet.
    fleet: bool = False
    #: Minutes that a rank is waited for at the beginning of a step before the job ends.
    rank_timeout: NonNegative = 10.0
    #: What is divided over the processes: 1 the optimizer's arrays, 2 gradients too, 3 parameters
    #: too; 0 nothing. 2 and 3 switch --fleet on.
    sharding: Literal[0, 1, 2, 3] = 0
    #: Compute each layer once more in the backward pass instead of keeping what it computed.
    recompute: bool = False
    #: The least important messages that are logged.
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    #: Start of all randomness; equal seeds give equal runs.
    seed: Annotated[int, Range(at_least=0, below=2**63)] = 0
    #: "auto" (a GPU where Paddle has one), "cpu", "gpu" or "gpu:1".
    device: str = "auto"
    #: CPU threads of a process; 0 divides all cores by the processes on this machine.
    num_threads: CountOrZero = 0
    #: Stop after this many optimizer steps.
    max_iters: Count | None = None
    #: Steps in a row that may be left out because a loss or gradient is not finite; null: 50 with
    #: float16, which finds its scale so, else 0.
    max_skipped_steps: CountOrZero | None = None
    #: How many of the newest epochs' checkpoints stay on the disk; 0 keeps all. The best one stays.
    keep: CountOrZero = 3
    #: Write the whole matrix of scores in a retrieval test.
    score_matrix: bool = False
    #: Also write the curves for VisualDL.
    visualdl: bool = False
    #: Mixed precision: {enable, level: O1 or O2, dtype: float16 or bfloat16, ...}.
    amp: AmpSettings = field(default_factory=AmpSettings)


@dataclass(frozen=True)
class DatasetSettings:
    """Keys of the DATASET section beside ``train``, ``valid`` and ``test``."""

    #: Samples in a batch of one process; each split may have its own.
    batch_size: Count = 8
    valid_batch_size: Count = 8
    test_batch_size: Count = 8
    #: Processes that prepare samples; 0 prepares them in the training process.
    num_workers: CountOrZero = 0
    valid_num_workers: CountOrZero = 0
    test_num_workers: CountOrZero = 0
    #: Of the training data: a new order every epoch; whether to leave out an incomplete batch.
    shuffle: bool = True
    drop_last: bool = True
    #: Shuffle within so many samples of blocks from anywhere: fewer jumps on the disk. 0 shuffles
    #: all samples at once, as happens by default up to 262,144 of them.
    shuffle_window: CountOrZero | None = None
    #: Fill batches of the training data with samples of similar length, sorting this many batches
    #: at a time; 0 does not.
    group_by_length: CountOrZero = 0
    #: Share of the training clips that may be left out because they cannot be read.
    skip_bad: Fraction = 0.0


@dataclass(frozen=True)
class AccumulationSettings:
    """The GRADIENT_ACCUMULATION section."""

    #: Samples in an optimizer step: a multiple of batch_size times the number of processes.
    global_batch_size: Count


#: PaddleVideo's settings that change no result here: they are ignored, with a warning.
IGNORED_SETTINGS = {
    "INFERENCE": "it belongs to PaddleVideo's inference script",
    "use_gpu": "a GPU is used where Paddle has one; device: cpu switches it off",
    "use_xpu": "see device",
    "use_npu": "see device",
    "use_mlu": "see device",
    "to_static": "training runs without a static graph",
    "find_unused_parameters": "parameters without a gradient are always allowed",
    "use_amp": "--amp, or amp.enable=True, switches mixed precision on",
    "profiler_options": "give it on the command line, with -p",
}

#: PaddleVideo's settings that would change results, and what to do without them.
REFUSED_SETTINGS = {
    "MIX": "mixing of samples is not offered: remove it",
    "PRECISEBN": "no model here has batch normalisation to recompute: remove it",
    "EMA": "write ema_decay: 0.999 at the top level",
    "AMP": "write it in lower case: amp: {level: O1, dtype: float16}",
    "RUNTIME": "write its settings at the top level",
}


def run_settings(config: Mapping[str, Any]) -> RunSettings:
    """The run settings of a checked configuration, with their defaults filled in."""
    given = {f.name: config[f.name] for f in fields(RunSettings) if f.name in config}
    settings = {**given, "amp": AmpSettings(**(given.get("amp") or {}))}
    settings["imports"] = tuple(given.get("imports") or ())
    if "model_name" not in given:
        settings["model_name"] = (config.get("MODEL") or {}).get("framework", "model")
    if not given.get("output_dir"):
        settings["output_dir"] = f"output/{settings['model_name']}"
    return RunSettings(**settings)


def dataset_settings(config: Mapping[str, Any]) -> DatasetSettings:
    """Returns the DATASET section's settings; a split's own keys default to the general ones."""
    section = config.get("DATASET") or {}
    given = {f.name: section[f.name] for f in fields(DatasetSettings) if f.name in section}
    for key in ("batch_size", "num_workers"):
        if key in given:
            given = {f"valid_{key}": given[key], f"test_{key}": given[key], **given}
    return DatasetSettings(**given)


def accumulation_settings(config: Mapping[str, Any]) -> AccumulationSettings | None:
    """Returns the GRADIENT_ACCUMULATION section, or None where there is none."""
    section = config.get("GRADIENT_ACCUMULATION")
    return AccumulationSettings(**section) if section else None
