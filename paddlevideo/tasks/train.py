"""Training: one loop for every model, on one or many ranks, with or without mixed precision."""

from __future__ import annotations

import logging
import math
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from paddlevideo.checkpoint import AVERAGE, BEST, Checkpoint, Checkpoints, Progress
from paddlevideo.config import Config
from paddlevideo.files.whole import write_json_whole
from paddlevideo.modeling import accuracies_of, build_model, load_weights
from paddlevideo.modeling.framework.base import Batch
from paddlevideo.runtime import Amp, recompute_layers, seed_everything
from paddlevideo.solver import build_optimizer, build_schedule
from paddlevideo.solver.average import WeightAverage
from paddlevideo.solver.groups import rate_factors
from paddlevideo.solver.state import master_weights, masters_in, state_by_structured_name
from paddlevideo.solver.updater import Updater
from paddlevideo.tasks.accumulation import in_windows, sizes_of
from paddlevideo.tasks.guard import Guard, NotFinite, allowed_skips, check_weights, log_not_finite
from paddlevideo.tasks.meters import Meters
from paddlevideo.tasks.plan import Plan
from paddlevideo.tasks.profiling import Profile, ProfilerOptions, profiler_options
from paddlevideo.tasks.resuming import (
    checkpoint_to_resume,
    describe,
    initial_progress,
    restore,
    start_of,
)
from paddlevideo.tasks.run_folder import EXTRACTION
from paddlevideo.tasks.saving import Saver
from paddlevideo.tasks.setup import (
    Run,
    begin,
    check_sizes,
    checkpoints_of,
    epoch_samples,
    fitting_loader,
    start_run,
    train_loader,
)
from paddlevideo.tasks.validation import Validation
from paddlevideo.utils.errors import ConfigError, DataError, Stopped, UserError
from paddlevideo.utils.progress import track
from paddlevideo.utils.stopping import StopRequest

log = logging.getLogger("paddlevideo")


def train(
    config: Config,
    weights: str | None = None,
    validate: bool = False,
    fleet: bool = False,
    profile: str | None = None,
) -> Progress:
    """Trains the model of ``config`` and returns the progress at the end.

    ``weights``: a file to start from; ``validate``: test on DATASET.valid every ``val_interval``
    epochs and keep the best checkpoint; ``fleet``: wrap model and optimizer with Paddle's Fleet;
    ``profile``: see ``tasks.profiling``.
    """
    options = None if profile is None else profiler_options(profile)
    run = start_run(config, "train", validate, fleet, weights=weights)
    with run.lock:
        trainer = Trainer(run, options)
        try:
            return trainer.fit()
        finally:
            trainer.meters.close()
            trainer.profile.close()


class Trainer:
    """The state of a training run, and its loop."""

    def __init__(self, run: Run, profile: ProfilerOptions | None) -> None:
        self.run, self.settings, self.world = run, run.settings, run.world
        checkpoints = checkpoints_of(run)
        checkpoint = checkpoint_to_resume(run, checkpoints)
        self.loader = train_loader(run)
        self.amp = Amp(self.settings.amp, run.device)
        self.validation = Validation(run, self.amp) if self.settings.validate else None
        self.sizes = sizes_of(run, len(self.loader))
        #: Samples of an epoch, on all ranks.
        self.epoch_samples = epoch_samples(self.loader)
        self.progress, pace = initial_progress(checkpoint, self.epoch_samples, self.sizes)
        self.plan = Plan(self.settings, self.sizes, pace, self.settings.validate)
        self.model = build_model(run.config.MODEL)
        check_sizes(self.model, train=self.loader, valid=getattr(self.validation, "loader", None))
        weights = self.settings.weights
        if weights and not (checkpoint and start_of(checkpoint) == weights):
            load_weights(self.model, weights)
        self.model.set_up_from(self.loader.reader.dataset)
        if self.world.size > 1:
            self.model.set_gather(self.world.gather_rows)
        self._build_updater()
        self.saver = Saver(checkpoints, self.settings.save_steps, self.settings.save_minutes)
        masters = master_weights(self.updater.optimizer)
        self.average = WeightAverage(self.model, self.settings.ema_decay, masters)
        self.guard = Guard(
            allowed_skips(self.settings, self.amp), self.loader.reader.dataset.name_of
        )
        self.stop = StopRequest()
        #: Tag of the checkpoint with the current state; "" if it is not saved.
        self.saved_as = ""
        #: Every rank's names of the model's loss counts; empty before the first step.
        self.count_names: list[list[str]] = []
        if checkpoint is not None:
            self._restore(checkpoint)
        if self.settings.recompute:
            recompute_layers(self.model.recomputable())
        self.parallel_model = self.world.wrap(self.model)
        #: Collecting them takes longer than a small step's operators.
        self.parameters = list(self.model.parameters())
        settings = self.settings
        self.meters = Meters(
            self.world, run.folder, settings.epochs, settings.log_interval, settings.visualdl
        )
        self.profile = Profile(profile, run.folder, self.world.rank)

    def _build_updater(self) -> None:
        config = self.run.config.OPTIMIZER
        steps = self.sizes.steps
        schedule = build_schedule(
            config["learning_rate"], steps, steps * self.settings.epochs, self.plan.pace.begun
        )
        optimizer = build_optimizer(config, schedule, self.model, self.amp.multi_precision)
        layers = self.model.float32_layers()
        self.model, optimizer = self.amp.decorate(self.model, optimizer, layers)
        optimizer = self.world.wrap_optimizer(optimizer)
        factors = rate_factors(self.model.parameters())
        self.updater = Updater(optimizer, schedule, self.amp.scaler, factors)

    # ------------------------------------------------------------------------------ loop

    def fit(self) -> Progress:
        """Trains the remaining epochs. After a signal, saves and raises Stopped."""
        self.saver.begin(self.plan.position(self.progress))
        with self.stop:
            self.rehearse()
        fits = not self.progress.step or self.model.fits_on_resume()
        if fits and self.model.num_fit_samples():
            self.fit_closed_form()
        begin(self.run, is_new=self.progress == Progress())
        self.write_extraction()
        with self.stop:
            try:
                while self.progress.pending or not self.plan.is_over(self.progress):
                    self.run_epoch()
            except (Stopped, NotFinite):
                self.save_here()
                raise
            except Exception as error:
                # A damaged clip, between two steps. With several ranks the others cannot know.
                if isinstance(error, DataError) and self.world.size == 1 and self.progress.step:
                    self.save_here()
                    log.error(
                        "The run is saved up to this point (%s); continue with --resume auto",
                        self.saved_as,
                    )
                    raise
                with suppress(DataError):  # a failed checkpoint, which is already logged
                    self.saver.close()
                raise
            self.end()
        return self.progress

    def write_extraction(self) -> None:
        """Writes how the training clips' features were extracted, for the weights' later users."""
        extraction = self.loader.reader.dataset.extraction()
        if self.world.is_main and extraction is not None:
            write_json_whole(self.run.folder / EXTRACTION, extraction)

    def save_here(self) -> None:
        """Saves the current state unless it is saved already, and ends the run."""
        with log_not_finite():
            if not self.saved_as:
                self.save(Checkpoints.step_tag(self.progress.step))
        self.end()

    def rehearse(self) -> None:
        """Tries a validation on a few samples before the first step."""
        if self.validation is not None:
            self.validation.rehearse(self.model)

    def fit_closed_form(self) -> None:
        """Fits the part of the model that has a closed-form solution to the training samples."""
        began = time.monotonic()
        loader = fitting_loader(self.run, self.loader.reader, self.model.num_fit_samples())
        self.model.eval()
        self.model.fit(loader.epoch(), self.world.sum_patiently)
        log.info("the closed-form fit took %.1f s", time.monotonic() - began)

    def end(self) -> None:
        """Waits until everything is written, and draws the curves; call it on all ranks.

        All ranks leave together: the launcher ends the others when one exits first.
        """
        self.saver.close()
        self.meters.draw()
        self.world.barrier()

    def run_epoch(self) -> None:
        """Trains the rest of an epoch, then validates and saves if that is due.

        The state to validate is saved first, as pending: a run that ends during its validation
        resumes with it.
        """
        if not self.progress.pending:
            self.train_epoch()
            self.count_epoch()
        if self.progress.pending:
            if not self.saved_as:
                self.save_pending()
            self.validate_pending()
        if self.plan.saves_epoch(self.progress):
            self.save_epoch()

    def count_epoch(self) -> None:
        """Counts the epoch if it is complete, and notes whether a validation is pending."""
        pending = self.plan.validates_epoch(self.progress)
        self.progress = replace(self.progress, pending=pending)
        if self.progress.batches == len(self.loader):
            self.progress = replace(self.progress, epoch=self.progress.epoch + 1, batches=0)
        self.saved_as = ""

    def save_pending(self) -> None:
        """Saves the state to validate, as the epoch's checkpoint if that is due and final."""
        if self.plan.saves_epoch(self.progress) and not self.model.has_validation_choice():
            self.save_epoch()
        else:
            self.save(Checkpoints.step_tag(self.progress.step))

    def save_epoch(self) -> None:
        """Saves an epoch; if its weights are already saved, only the result of its validation."""
        tag = Checkpoints.epoch_tag(self.plan.epochs_begun(self.progress))
        if self.saved_as == tag:
            is_main, described = self.world.is_main, self.describe()
            failed = is_main and not self.saver.amend(tag, self.progress, described)
            if not self.world.any(failed):
                return
        self.save(tag)
        if self.settings.ema_decay:
            with self.average.applied():
                self.save(AVERAGE)

    def train_epoch(self) -> None:
        """Trains to the end of the current epoch, or to ``max_iters``."""
        epoch, done = self.progress.epoch, self.progress.batches
        self.model.train()
        windows = in_windows(self.loader.epoch(epoch, start=done), self.sizes.window)
        left = self.sizes.steps - self.sizes.steps_after(done)
        if self.world.is_main:
            windows = track(windows, f"epoch {epoch + 1}", left, "steps", logged=False)
        for window in self.meters.timed(windows):
            self.train_step(window)
            self.profile.step()
            if self.plan.reached_limit(self.progress):
                break
        if self.world.any(self.stop.received is not None):
            raise Stopped(self.stop.received)

    def train_step(self, window: Sequence[Batch]) -> None:
        """Takes one optimizer step over the micro-batches of ``window``.

        If a signal has arrived or a checkpoint is due, all ranks stop or save first.
        """
        counts = self.exchange(window)
        # Losses without counts are means of their batches.
        given, parts = ((counts,), 1) if counts else ((), len(window))
        scalars, shown, hits = self.updater.scalars(), [], []
        with self.world.watched(f"step {self.progress.step + 1}"):
            for index, batch in enumerate(window):
                seed_everything(self.settings.seed, self.progress.step, index, self.world.rank)
                with self.world.accumulate_only(self.parallel_model, index + 1 < len(window)):
                    with self.amp.autocast():
                        losses = self.parallel_model(batch, *given)
                    hits.append(accuracies_of(losses))
                    if parts > 1:
                        losses = {name: loss / parts for name, loss in losses.items()}
                    self.updater.backward(losses["loss"])
                shown.append({name: losses[name].detach() for name in ("loss", *counts)})
            self.updater.make_gradients_float32(self.parameters)
            norm = self.updater.gradient_norm(self.parameters)
            if math.isfinite(norm):
                self.updater.step()
                self.average.update(self.plan.pace.ratio)
                self.guard.step_taken()
                self.meters.add(shown, hits, sum(len(next(iter(b.values()))) for b in window))
            else:
                self.guard.step_skipped(self.progress.step + 1, shown, window, self.model)
                self.updater.skip()
        step_in_epoch = self.progress.batches // self.sizes.window
        self.progress = replace(
            self.progress,
            batches=self.progress.batches + len(window),
            step=self.progress.step + 1,
        )
        self.saved_as = ""
        self.meters.end_step(
            self.progress.epoch + 1,
            step_in_epoch,
            self.plan.steps_left(self.progress),
            {**scalars, "grad_norm": norm, "step_total": self.progress.step},
        )

    def exchange(self, window: Sequence[Batch]) -> dict[str, float]:
        """Returns the divisors of the step's losses that make them equal those of one large batch.

        Losses add up over the window and are averaged over ranks, as gradients are. A divisor is
        therefore the count over the window and all ranks, divided by the number of ranks. Empty
        for a model without counts. The same exchange carries requests, so that all ranks save, or
        raise Stopped, together.
        """
        totals = self._loss_counts(window)
        is_due = self.world.is_main and self.saver.is_due(self.plan.position(self.progress))
        stops = self.stop.received is not None and self.progress.step > 0  # nothing to save before
        # A rank may arrive later here than a collective operation would wait for it.
        step = f"step {self.progress.step + 1}"
        self.world.barrier(step, 60.0 * self.settings.rank_timeout)
        *sums, stop, save = self.world.sum([*totals.values(), stops, is_due])
        if stop:
            raise Stopped(self.stop.received)
        if save:
            self.save(Checkpoints.step_tag(self.progress.step))
            self.world.barrier(step)
        return {name: float(n) / self.world.size for name, n in zip(totals, sums, strict=True)}

    def _loss_counts(self, window: Sequence[Batch]) -> dict[str, float]:
        """Returns the model's counts over ``window``, in the same order on every rank.

        Raises ConfigError if their names are not those of every batch and rank, or if a batch lacks
        an array that they are counted from.
        """
        try:
            counts = [self.model.loss_counts(batch) for batch in window]
        except KeyError as error:
            line = traceback.extract_tb(error.__traceback__)[-1]
            raise ConfigError(
                f"DATASET.train: its samples have no {error}, but {', '.join(window[0])}; "
                f"{type(self.model).__name__} needs it ({line.filename}:{line.lineno} in "
                f"{line.name}). Check the format and the steps of PIPELINE.train"
            ) from error
        if not self.count_names:
            self.count_names = self.world.gather(list(counts[0]))
        expected = self.count_names[0]
        for names in (*self.count_names, *counts):
            if set(names) != set(expected):
                raise ConfigError(
                    f"MODEL.framework: {type(self.model).__name__}.loss_counts gives "
                    f"{sorted(names)} for a batch, and {sorted(expected)} for another. "
                    "Expected the same names for every batch: where a loss has no terms its "
                    "count is 0"
                )
        return {name: sum(each[name] for each in counts) for name in expected}

    def validate_pending(self) -> None:
        """Validates the pending state; an error says how to continue."""
        try:
            with self.average.applied():
                self.validate()
        except Stopped:
            raise
        except Exception as error:
            advice = (
                f"The epoch is trained and saved ({self.saved_as}): once the cause is removed, "
                "--resume auto continues with its validation; without --validate, with training"
            )
            if isinstance(error, UserError):
                raise type(error)(f"{error}\n{advice}") from error
            log.error("the validation failed. %s", advice)
            raise

    def validate(self) -> None:
        """Tests on the validation split, and saves the weights if they are the best so far."""
        assert self.validation is not None
        epoch, step = self.plan.epochs_begun(self.progress), self.progress.step
        score, metric = self.validation.test(self.model, self.meters, epoch, step, self.stop)
        if self.model.has_validation_choice():
            self.saved_as = ""
        best = self.progress.best
        if best is None or math.isnan(best):  # no number is better than NaN
            is_better = True
        else:
            is_better = score > best if metric.higher_is_better else score < best
        if is_better:
            self.progress = replace(self.progress, best=score, stale=0, pending=False)
            log.info("best so far: %s = %.4f", metric.best, score)
            self.save(BEST)
            return
        stale = self.progress.stale + 1
        self.progress = replace(self.progress, stale=stale, pending=False)
        if self.plan.is_stale(self.progress):
            log.info("no improvement for %d validations (patience): training ends", stale)

    # ----------------------------------------------------------------- save and resume

    def save(self, tag: str) -> None:
        """Lets rank 0 write a checkpoint in the background; call it on all ranks.

        Raises NotFinite instead of saving weights that are not finite.
        """
        check_weights(self.model, self.progress.step)
        arrays, averages = {}, {}
        if self.world.is_main or self.world.sharding:
            arrays = state_by_structured_name(self.updater.optimizer, self.model)
            arrays = self.world.collect(arrays)
        if self.world.sharding:
            averages = self.world.collect(self.average.of_masters())
        if self.world.is_main:
            weights = self.model.to_released({**self.model.state_dict(), **masters_in(arrays)})
            average = self.average.state()
            average.get("weights", {}).update(averages)
            optimizer = {
                "optimizer": arrays,
                "scaler": self.amp.scaler.state_dict(),
                "average": average,
            }
            self.saver.save(tag, weights, optimizer, self.progress, self.describe())
        self.saver.begin(self.plan.position(self.progress))
        if tag not in (BEST, AVERAGE):
            self.saved_as = tag

    def describe(self) -> dict[str, Any]:
        """Returns what a checkpoint records about this run."""
        return {
            **describe(self.run),
            "begun_steps_per_epoch": self.plan.pace.begun,
            "epoch_samples": self.epoch_samples,
        }

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Restores the state of ``checkpoint``."""
        restore(checkpoint, self.run, self.model, self.updater, self.average)
        # Sizes may have changed: the schedule counts steps of the current size.
        self.updater.schedule.set_state_dict({"step": self.plan.steps_done(self.progress)})
        if self.validation is None:
            self.progress = replace(self.progress, pending=False)
        self.saved_as = checkpoint.tag
        log.info(
            "resumed %s: %d epochs done, step %d",
            checkpoint.tag,
            self.progress.epoch,
            self.progress.step,
        )
