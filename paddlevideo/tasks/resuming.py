"""Resuming: which checkpoint, whether it belongs to this run, and from which sample.

A run may be resumed with another number of processes, another batch size or another accumulation
than it was begun with. Counters and their units:

- samples: the position in the epoch (``position_in_epoch``);
- epochs: ``epoch``, ``save_interval``, ``val_interval``, ``resume_epoch`` and, in validations,
  ``patience``;
- steps of the run as it was begun (``solver.scheduler.Pace``): the schedule with warm-up and
  boundaries, ``max_iters``, ``save_steps``, ``ema_decay``;
- optimizer steps actually taken: ``Progress.step``, from which names of checkpoints, seeds of
  dropout and the log's ``step_total`` are derived; the counts of optimizer and loss scaler;
- steps of this process: ``log_interval``, the profiler's range, consecutive skipped steps.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from paddlevideo.checkpoint import Checkpoint, Checkpoints, Progress
from paddlevideo.config.compare import differences
from paddlevideo.modeling import BaseFramework
from paddlevideo.modeling.weights import assign
from paddlevideo.solver import Pace
from paddlevideo.solver.average import WeightAverage
from paddlevideo.solver.state import load_state_by_structured_name
from paddlevideo.solver.updater import Updater
from paddlevideo.tasks.accumulation import Sizes
from paddlevideo.tasks.setup import Run
from paddlevideo.utils.errors import ConfigError, WeightsError

log = logging.getLogger("paddlevideo")


def checkpoint_to_resume(run: Run, checkpoints: Checkpoints) -> Checkpoint | None:
    """Returns the checkpoint to resume, if any, after comparing it with the configuration.

    Raises WeightsError if the checkpoint of ``resume_epoch``, or every checkpoint, is damaged, and
    ConfigError if a setting that affects results has changed and ``force`` is not set.
    """
    settings = run.settings
    checkpoint: Checkpoint | None = None
    if settings.resume_epoch:
        checkpoint = checkpoints.load(Checkpoints.epoch_tag(settings.resume_epoch))
    elif settings.resume == "auto":
        checkpoint = checkpoints.newest()
        if checkpoint is None and checkpoints.tags():
            tags = ", ".join(checkpoints.tags())
            raise WeightsError(
                f"{run.folder}: no checkpoint is complete ({tags}), and training from the start "
                "would overwrite them. Restore the missing files, start from weights that are "
                "there with -w in another folder (-o output_dir=FOLDER), or start over with "
                "--overwrite instead of --resume"
            )
    if checkpoint is not None:
        check_same_run(run, checkpoint)
        keep_start(run, checkpoint)
    return checkpoint


def keep_start(run: Run, checkpoint: Checkpoint) -> None:
    """Keeps the weights that the run originally started from in its configuration."""
    weights = start_of(checkpoint)
    given = run.settings.weights
    if given and given != weights:
        log.warning(
            "%s has no effect: the run continues from %s. To start from it, choose another "
            "output_dir, without --resume",
            given,
            checkpoint.tag,
        )
    if weights is not None:
        run.config["weights"] = weights


def start_of(checkpoint: Checkpoint) -> str | None:
    """Returns the weights that the run of a checkpoint started from."""
    weights: str | None = checkpoint.extra.get("config", {}).get("weights")
    return weights


def describe(run: Run) -> dict[str, Any]:
    """Returns what a checkpoint records about its run, ready for JSON."""
    return {
        "config": run.config.to_dict(),
        "ranks": run.world.size,
        "threads": run.threads,
        "batch_size": run.data.batch_size,
    }


def check_same_run(run: Run, checkpoint: Checkpoint) -> None:
    """Logs settings that have changed. Raises ConfigError if one of them affects results."""
    before, now = checkpoint.extra.get("config", {}), run.config.to_dict()
    amp, amp_now = before.get("amp") or {}, now.get("amp") or {}
    if not amp.get("enable") and not amp_now.get("enable"):
        before, now = {**before, "amp": {}}, {**now, "amp": {}}  # the rest of it has no effect
    elif amp.get("enable") and amp_now.get("dtype"):
        # Releases that did not record the type used float16.
        before = {**before, "amp": {**amp, "dtype": amp.get("dtype") or "float16"}}
    changes = differences(before, now)
    decisive = [change for change in changes if change.decisive]
    if decisive and not run.settings.force:
        lines = "\n  ".join(map(str, decisive))
        raise ConfigError(
            f"{checkpoint.tag} in {run.folder} belongs to a run with other settings:\n  {lines}\n"
            "Resume with the original settings, use these with --force, or start in another "
            "output_dir"
        )
    for change in decisive:
        log.warning("resumed with a changed setting: %s", change)
    ranks = checkpoint.extra.get("ranks", run.world.size)
    if run.data.shards == "by_rank" and ranks != run.world.size:
        log.warning(
            "resumed with %d ranks instead of %d: they have other shards now, so clips of the "
            "epoch that was begun may be read twice in it, or not at all",
            run.world.size,
            ranks,
        )
    threads = checkpoint.extra.get("threads", run.threads)
    if threads != run.threads:
        log.warning(
            "resumed with %d threads instead of %d: results differ by rounding",
            run.threads,
            threads,
        )


def restore(
    checkpoint: Checkpoint,
    run: Run,
    model: BaseFramework,
    updater: Updater,
    average: WeightAverage,
) -> None:
    """Restores weights, the optimizer's state, the loss scale and the average.

    Raises WeightsError if the checkpoint belongs to another model.
    """
    weights = model.from_released(checkpoint.weights)
    model.before_loading(weights)
    report = assign(model, weights, checkpoint.tag)
    if report.missing or report.misshapen:
        raise WeightsError(
            f"{checkpoint.tag} in {run.folder} belongs to another model, so it cannot be resumed. "
            f"Start in another output_dir, or load it with -w.\n{report}"
        )
    state = checkpoint.optimizer
    load_state_by_structured_name(updater.optimizer, model, state["optimizer"])
    if state.get("scaler"):
        updater.scaler.load_state_dict(dict(state["scaler"]))
    average.load(state.get("average"))


def initial_progress(
    checkpoint: Checkpoint | None, clips: int, now: Sizes
) -> tuple[Progress, Pace]:
    """Returns where a run of these sizes starts or resumes, and how its steps are converted.

    Checkpoints of older versions do not record how many steps an epoch had when the run was begun;
    for them it is the number in the run that wrote them.
    """
    if checkpoint is None:
        return Progress(), Pace(now.steps, now.steps)
    before = sizes_before(checkpoint.extra, clips, now)
    steps = int(checkpoint.extra.get("begun_steps_per_epoch", before.steps))
    if steps != now.steps:
        log.warning(
            "an epoch has %d optimizer steps instead of the %d it had when the run was begun: "
            "settings in steps (learning rate, max_iters, save_steps) still count the old steps",
            now.steps,
            steps,
        )
    return position_in_epoch(checkpoint.progress, before, now), Pace(steps, now.steps)


def sizes_before(extra: Mapping[str, Any], dataset_size: int, now: Sizes) -> Sizes:
    """Returns the sizes of the run that wrote a checkpoint.

    Args:
        extra: what the checkpoint records about it, see ``describe``.
        dataset_size: number of samples of an epoch now, for a checkpoint that does not record it.
        now: the current sizes, for what the checkpoint does not record.
    """
    config = extra.get("config", {})
    dataset_size = extra.get("epoch_samples", dataset_size)
    ranks = extra.get("ranks", 1)
    samples = ranks * extra.get("batch_size", max(1, now.samples // ranks))
    wanted = (config.get("GRADIENT_ACCUMULATION") or {}).get("global_batch_size") or samples
    whole, rest = divmod(dataset_size, samples)
    has_rest = rest >= ranks and not (config.get("DATASET") or {}).get("drop_last", True)
    return Sizes(samples, max(1, whole + has_rest), max(1, wanted // samples))


def position_in_epoch(progress: Progress, before: Sizes, now: Sizes) -> Progress:
    """Returns ``progress`` in batches of this run.

    The order of samples does not depend on the number of processes. If sizes have changed,
    training continues with the first sample of the optimizer step that contains the next sample. An
    epoch that was finished stays finished, whichever samples either size drops from it.
    """
    if before == now and progress.batches <= now.batches:
        return progress
    if progress.batches >= before.batches:
        return replace(progress, batches=now.batches)
    samples = progress.batches * before.samples
    batches = min(samples // now.samples // now.window * now.window, now.batches)
    again = max(0, samples - batches * now.samples)
    log.warning(
        "resumed with batches of %d samples over all processes instead of %d: %d samples of the "
        "epoch are done%s",
        now.samples,
        before.samples,
        samples,
        f", of which {again} are repeated" if again else "",
    )
    return replace(progress, batches=batches)
