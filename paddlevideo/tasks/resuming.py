"""Going on from a checkpoint: which one, whether it is of this run, and from what sample."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from paddlevideo.checkpoint import Checkpoint, Checkpoints, Progress
from paddlevideo.config.compare import differences
from paddlevideo.tasks.setup import Run
from paddlevideo.utils.errors import ConfigError

log = logging.getLogger("paddlevideo")


def checkpoint_to_resume(run: Run, checkpoints: Checkpoints) -> Checkpoint | None:
    """The checkpoint that the settings ask for, compared with the run's configuration.

    Raises WeightsError where the epoch that is asked for has no whole one, and ConfigError where
    a setting that decides the result has changed and ``force`` is not set.
    """
    settings = run.settings
    checkpoint: Checkpoint | None = None
    if settings.resume_epoch:
        checkpoint = checkpoints.load(Checkpoints.epoch_tag(settings.resume_epoch))
    elif settings.resume == "auto":
        checkpoint = checkpoints.newest()
    if checkpoint is not None:
        check_same_run(run, checkpoint)
        keep_start(run, checkpoint)
    return checkpoint


def keep_start(run: Run, checkpoint: Checkpoint) -> None:
    """The run goes on, so its configuration still names the weights that it once started from."""
    weights = checkpoint.extra.get("config", {}).get("weights")
    if weights is not None:
        run.config["weights"] = weights


def describe(run: Run) -> dict[str, Any]:
    """What a checkpoint says of the run that wrote it; plain JSON."""
    return {
        "config": run.config.to_dict(),
        "ranks": run.world.size,
        "threads": run.threads,
        "batch_size": batch_size(run),
    }


def batch_size(run: Run) -> int:
    """Training samples in a batch of one process."""
    return run.config.DATASET.get("batch_size", 8)


def check_same_run(run: Run, checkpoint: Checkpoint) -> None:
    """Reports every setting that has changed. Raises ConfigError if one of them is decisive."""
    found = differences(checkpoint.extra.get("config", {}), run.config.to_dict())
    decisive = [change for change in found if change.decisive]
    if decisive and not run.settings.force:
        lines = "\n  ".join(map(str, decisive))
        raise ConfigError(
            f"{checkpoint.tag} in {run.folder} is of a run with other settings:\n  {lines}\n"
            "Go on with the settings as they were, with these by --force, or start in another "
            "output_dir"
        )
    for change in decisive:
        log.warning("resumed with another setting: %s", change)
    threads = checkpoint.extra.get("threads", run.threads)
    if threads != run.threads:
        log.warning(
            "resumed with %d threads instead of %d: results differ by rounding",
            run.threads,
            threads,
        )


def place_in_epoch(
    progress: Progress, before: Mapping[str, Any], at_once: int, window: int
) -> Progress:
    """``progress`` counted in batches of this run.

    Args:
        progress: as the checkpoint has it.
        before: what it says of its run, ``describe``.
        at_once: samples that all processes of this run take together in a batch.
        window: batches of an optimizer step.

    The order of samples does not depend on the number of processes: with another number, or other
    batches, training goes on with the sample that would have come next, or with the first one of
    the optimizer step that it belongs to.
    """
    then_at_once = before.get("ranks", 1) * before.get("batch_size", at_once)
    if then_at_once == at_once:
        return progress
    samples = progress.batches * then_at_once
    batches = samples // at_once // window * window
    again = samples - batches * at_once
    log.warning(
        "resumed with %d samples a batch of all processes instead of %d: %d samples of the epoch "
        "are done%s",
        at_once,
        then_at_once,
        samples,
        f", of which {again} come again" if again else "",
    )
    return replace(progress, batches=batches)
