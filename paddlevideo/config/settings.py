"""Run settings: the lower-case keys at the top level, and those of sections that are not parts.

The dataclasses are the schema: their names, type hints and defaults are what is checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Literal

from paddlevideo.registry import InputPath, OutputPath
from paddlevideo.utils.amp_settings import AmpSettings
from paddlevideo.utils.ranges import Count, CountOrZero, Fraction, NonNegative, Range


@dataclass(frozen=True)
class RunSettings:
    """Settings of a run, whatever its model and data."""

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
    #: Stop after this number of validations in a row without a new best; 0: never.
    patience: CountOrZero = 0
    #: Decay of a running average of the weights, as 0.999, which validations use; 0: none.
    ema_decay: Fraction = 0.0
    #: The feature store of all data sets that name no file of their own.
    data: InputPath | None = None
    #: Where everything is written; output/<model_name> if it is empty.
    output_dir: OutputPath = ""
    #: Continue after this epoch's checkpoint in output_dir; 0 starts from the beginning.
    resume_epoch: CountOrZero = 0
    #: "auto" continues from the newest checkpoint in output_dir, if there is one.
    resume: Literal["", "auto"] = ""
    #: Resume although settings that decide the result have changed.
    force: bool = False
    #: Replace the run whose checkpoints are in output_dir.
    overwrite: bool = False
    #: Weights to start training from; "": the initial ones of the model.
    weights: str = ""
    #: Test on DATASET.valid while training.
    validate: bool = False
    #: Modules that register parts of your own.
    imports: Sequence[str] = ()
    #: Distribute through Paddle's Fleet.
    fleet: bool = False
    #: Minutes to wait for a rank at the beginning of a step before the job ends.
    rank_timeout: NonNegative = 10.0
    #: What is divided over the processes: 1 the optimizer's arrays; 0 nothing.
    sharding: Literal[0, 1] = 0
    #: Recompute each layer in the backward pass instead of keeping its activations.
    recompute: bool = False
    #: Lowest level of the messages that are logged.
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    #: Seed of all randomness; equal seeds give equal runs.
    seed: Annotated[int, Range(at_least=0, below=2**63)] = 0
    #: On GPUs, add in a fixed order, so that runs repeat bit for bit; slower.
    deterministic: bool = False
    #: "auto" (a GPU where Paddle has one), "cpu", "gpu" or "gpu:1".
    device: str = "auto"
    #: CPU threads of a process; 0 divides all cores by the processes on this machine.
    num_threads: CountOrZero = 0
    #: Maximum number of optimizer steps.
    max_iters: Count | None = None
    #: Maximum number of steps in a row to skip because a loss or gradient is not finite; null: 50
    #: with float16, which finds its loss scale in this way, else 0.
    max_skipped_steps: CountOrZero | None = None
    #: Number of the newest epochs' checkpoints to keep; 0 keeps all. The best one is kept.
    keep: CountOrZero = 3
    #: Write the score matrix of a retrieval test.
    score_matrix: bool = False
    #: Also write the curves for VisualDL.
    visualdl: bool = False
    #: Mixed precision: {enable, level: O1 or O2, dtype: float16 or bfloat16, ...}.
    amp: AmpSettings = field(default_factory=AmpSettings)


@dataclass(frozen=True)
class DatasetSettings:
    """Keys of the DATASET section beside ``train``, ``valid`` and ``test``."""

    #: Samples in a batch of one process; null: batch_size.
    batch_size: Count = 8
    valid_batch_size: Count | None = None
    test_batch_size: Count | None = None
    #: Processes that prepare samples, 0: the training process does; null: num_workers.
    num_workers: CountOrZero = 0
    valid_num_workers: CountOrZero | None = None
    test_num_workers: CountOrZero | None = None
    #: Of the training data: a new order every epoch; whether to drop an incomplete batch.
    shuffle: bool = True
    drop_last: bool = True
    #: Shuffle within windows of this size, of blocks from anywhere: fewer disk seeks. 0
    #: shuffles all samples at once, as null does up to 262,144 of them.
    shuffle_window: CountOrZero | None = None
    #: Fill batches of the training data with samples of similar length, by sorting windows of
    #: this number of batches; 0 does not.
    group_by_length: CountOrZero = 0
    #: Which shards of the training data's feature store a process reads: all, or its own.
    shards: Literal["all", "by_rank"] = "all"
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

#: Why ZeRO's stages 2 and 3 are refused.
NO_MORE_SHARDING = (
    "gradients (2) and parameters (3) are not divided: Paddle's group_sharded_parallel, which does "
    "it, replaces clear_grad, keeps gradients where the norm does not see them and saves no "
    "optimizer arrays. Use 1, which divides the optimizer's arrays, and recompute: True"
)


def run_settings(config: Mapping[str, Any]) -> RunSettings:
    """Returns the run settings of a checked configuration, with defaults filled in."""
    given = {f.name: config[f.name] for f in fields(RunSettings) if f.name in config}
    settings = {**given, "amp": AmpSettings(**(given.get("amp") or {}))}
    settings["imports"] = tuple(given.get("imports") or ())
    if "model_name" not in given:
        settings["model_name"] = (config.get("MODEL") or {}).get("framework", "model")
    if not given.get("output_dir"):
        settings["output_dir"] = f"output/{settings['model_name']}"
    return RunSettings(**settings)


def dataset_settings(config: Mapping[str, Any]) -> DatasetSettings:
    """Returns the DATASET section's settings; a split's null keys are the general ones."""
    section = config.get("DATASET") or {}
    names = [setting.name for setting in fields(DatasetSettings)]
    general = DatasetSettings(**{name: section[name] for name in names if name in section})
    filled = {
        f"{split}_{key}": getattr(general, key)
        for split in ("valid", "test")
        for key in ("batch_size", "num_workers")
        if getattr(general, f"{split}_{key}") is None
    }
    return replace(general, **filled)


def accumulation_settings(config: Mapping[str, Any]) -> AccumulationSettings | None:
    """Returns the GRADIENT_ACCUMULATION section, or None where there is none."""
    section = config.get("GRADIENT_ACCUMULATION")
    return AccumulationSettings(**section) if section else None
