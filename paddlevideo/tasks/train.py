"""Training: the loop names no model and has one path for one rank or many, with or without AMP."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from paddlevideo.checkpoint import AVERAGE, BEST, Checkpoint, Checkpoints, Progress
from paddlevideo.config import Config
from paddlevideo.modeling import accuracies_of, build_model, load_weights
from paddlevideo.runtime import Amp, recompute_layers, seed_everything
from paddlevideo.solver import build_optimizer, build_schedule
from paddlevideo.solver.average import WeightAverage
from paddlevideo.solver.groups import rate_factors
from paddlevideo.solver.state import state_by_structured_name
from paddlevideo.solver.updater import Updater
from paddlevideo.tasks.accumulation import in_windows, loss_shares, sizes_of, weigh
from paddlevideo.tasks.guard import Guard, NotFinite, allowed_skips, check_weights, log_not_finite
from paddlevideo.tasks.meters import Meters
from paddlevideo.tasks.plan import Plan
from paddlevideo.tasks.profiling import Profile, ProfilerOptions, profiler_options
from paddlevideo.tasks.resuming import (
    checkpoint_to_resume,
    describe,
    go_on_from,
    restore,
    start_of,
)
from paddlevideo.tasks.saving import Saver
from paddlevideo.tasks.setup import (
    Run,
    begin,
    check_sizes,
    checkpoints_of,
    fitting_loader,
    start_run,
    train_loader,
)
from paddlevideo.tasks.validation import Validation
from paddlevideo.utils.errors import DataError, UserError
from paddlevideo.utils.progress import track
from paddlevideo.utils.stopping import Stopped, StopRequest

log = logging.getLogger("paddlevideo")


def train(
    config: Config,
    weights: str | None = None,
    validate: bool = False,
    fleet: bool = False,
    profile: str | None = None,
) -> Progress:
    """Trains what ``config`` describes and returns how far it came.

    ``weights`` start the model; ``validate`` tests on DATASET.valid every ``val_interval`` epochs
    and keeps the best checkpoint; ``fleet`` wraps model and optimizer by Paddle's Fleet;
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
        clips = len(self.loader.reader.dataset)
        self.progress, pace = go_on_from(checkpoint, clips, self.sizes)
        self.plan = Plan(self.settings, self.sizes, pace, self.settings.validate)
        self.model = build_model(run.config.MODEL)
        check_sizes(self.model, train=self.loader, valid=getattr(self.validation, "loader", None))
        weights = self.settings.weights
        if weights and not (checkpoint and start_of(checkpoint) == weights):
            load_weights(self.model, weights)
        self.model.connect(self.world.gather_rows)
        self._build_updater()
        self.saver = Saver(checkpoints, self.settings.save_steps, self.settings.save_minutes)
        self.average = WeightAverage(self.model, self.settings.ema_decay)
        self.guard = Guard(
            allowed_skips(self.settings, self.amp), self.loader.reader.dataset.name_of
        )
        self.stop = StopRequest()
        #: The checkpoint that holds the state as it is, if there is one.
        self.held = ""
        if checkpoint is not None:
            self._restore(checkpoint)
        settings = self.settings
        if settings.recompute:
            recompute_layers(self.model.recomputable())
        self.called = self.world.wrap(self.model, self.updater)
        self.meters = Meters(
            self.world, run.folder, settings.epochs, settings.log_interval, settings.visualdl
        )
        self.profile = Profile(profile, run.folder, self.world.rank)

    def _build_updater(self) -> None:
        config = self.run.config.OPTIMIZER
        now, begun = self.sizes.steps, self.plan.pace.begun
        total = now * self.settings.epochs
        schedule = build_schedule(config["learning_rate"], now, total, begun)
        optimizer = build_optimizer(config, schedule, self.model, self.amp.multi_precision)
        self.model, optimizer = self.amp.decorate(self.model, optimizer)
        optimizer = self.world.wrap_optimizer(optimizer)
        factors = rate_factors(self.model.parameters())
        self.updater = Updater(optimizer, schedule, self.amp.scaler, factors)

    # ------------------------------------------------------------------------------ loop

    def fit(self) -> Progress:
        """Runs all epochs that are left. Raises Stopped, with all saved, if a signal asks it to."""
        self.saver.begin(self.plan.position(self.progress))
        with self.stop:
            self.rehearse()
        if self.model.fits() and not self.progress.step:
            self.fit_closed_form()
        begin(self.run, is_new=self.progress == Progress())
        with self.stop:
            try:
                while self.progress.pending or not self.plan.is_over(self.progress):
                    self.run_epoch()
            except (Stopped, NotFinite):
                self.save_here()
                raise
            except Exception as error:
                # Between two steps, as a damaged clip; of several ranks the others do not know.
                if isinstance(error, DataError) and self.world.size == 1 and self.progress.step:
                    self.save_here()
                    log.error("What was trained is saved (%s); --resume auto continues", self.held)
                    raise
                with suppress(DataError):  # a checkpoint that could not be written: it was logged
                    self.saver.close()
                raise
            self.end()
        return self.progress

    def save_here(self) -> None:
        """Saves the run as it is, unless a checkpoint holds that already, and ends it."""
        self.world.rest()
        with log_not_finite():
            if not self.held:
                self.save(Checkpoints.step_tag(self.progress.step))
        self.end()

    def rehearse(self) -> None:
        """Tries what a validation needs, before the first step."""
        if self.validation is not None:
            self.validation.rehearse(self.model)

    def fit_closed_form(self) -> None:
        """Has the model fit what needs no steps, to the training samples as they are."""
        began = time.monotonic()
        loader = fitting_loader(self.run, self.loader.reader, self.model.fits())
        self.model.eval()
        self.model.fit(loader.epoch(), self.world.sum_patiently)
        log.info("fitted what has a closed form in %.1f s", time.monotonic() - began)

    def end(self) -> None:
        """Waits until all is written, and draws the curves; all ranks together.

        A rank that left before the others would have the launcher end them within it.
        """
        self.saver.close()
        self.meters.draw()
        self.world.meet()

    def run_epoch(self) -> None:
        """The rest of an epoch and, where they are due, its validation and its checkpoint.

        What is to be validated is saved before that, as pending: a run that ends in its validation
        comes back to it.
        """
        if not self.progress.pending:
            self.train_epoch()
            self.count_epoch()
        if self.progress.pending:
            if not self.held:
                self.save_pending()
            self.validate_pending()
        if self.plan.saves_epoch(self.progress):
            self.save_epoch()

    def count_epoch(self) -> None:
        """Counts the epoch if it is complete, and notes whether a validation is due."""
        pending = self.plan.validates_epoch(self.progress)
        self.progress = replace(self.progress, pending=pending)
        if self.progress.batches == len(self.loader):
            self.progress = replace(self.progress, epoch=self.progress.epoch + 1, batches=0)
        self.held = ""

    def save_pending(self) -> None:
        """Saves what is to be validated: as its epoch, if that is due and will not change again."""
        if self.plan.saves_epoch(self.progress) and not self.model.has_validation_choice():
            self.save_epoch()
        else:
            self.save(Checkpoints.step_tag(self.progress.step))

    def save_epoch(self) -> None:
        """Saves an epoch; if its weights are there already, only how its validation ended."""
        tag = Checkpoints.epoch_tag(self.plan.epochs_begun(self.progress))
        if self.held == tag:
            amends = self.world.is_main
            lost = amends and not self.saver.amend(tag, self.progress, self.describe())
            if not self.world.any(lost):
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
            windows = track(windows, f"epoch {epoch + 1}", left, "steps")
        for window in self.meters.timed(windows):
            self.train_step(window)
            self.profile.step()
            self.attend()
            if self.plan.reached_limit(self.progress):
                return

    def attend(self) -> None:
        """Between two steps: saves if it is time, ends if it was asked to; all ranks together."""
        is_due = self.world.is_main and self.saver.is_due(self.plan.position(self.progress))
        stops, saves = self.world.sum([self.stop.received is not None, is_due])
        self.world.rest()
        if stops:
            raise Stopped(self.stop.received)
        plan, progress = self.plan, self.progress
        soon = plan.saves_epoch(progress) or plan.validates_epoch(progress)
        if saves and not (plan.ends_epoch(progress) and soon):
            self.save(Checkpoints.step_tag(progress.step))

    def train_step(self, window: Sequence[Mapping[str, Any]]) -> None:
        """One optimizer step over the micro-batches of ``window``."""
        # Here, because a collective would kill ranks that wait in it for half a minute.
        self.world.meet(f"step {self.progress.step + 1}", 60.0 * self.settings.rank_timeout)
        shares = loss_shares(self.model, window, self.world)
        scalars, seen, hits = self.updater.scalars(), [], []
        for number, (batch, share) in enumerate(zip(window, shares, strict=True)):
            seed_everything(self.settings.seed, self.progress.step, number, self.world.rank)
            accumulating = number + 1 < len(window)
            with self.world.accumulate_only(self.called, accumulating):
                with self.amp.autocast():
                    found = self.called(batch)
                    losses = weigh(found, share)
                self.updater.backward(losses["loss"])
            hits.append(accuracies_of(found))
            seen.append({name: loss.detach() for name, loss in losses.items()})
        norm = self.world.whole_norm(self.updater.gradient_norm(self.model.parameters()))
        if math.isfinite(norm):
            self.updater.step()
            self.average.update(self.plan.pace.ratio)
            self.guard.good()
            self.meters.add(seen, hits, sum(len(next(iter(b.values()))) for b in window))
        else:
            self.guard.bad(self.progress.step + 1, seen, window, self.model)
            self.updater.skip()
        step_in_epoch = self.progress.batches // self.sizes.window
        self.progress = replace(
            self.progress,
            batches=self.progress.batches + len(window),
            step=self.progress.step + 1,
        )
        self.held = ""
        self.meters.end_step(
            self.progress.epoch + 1,
            step_in_epoch,
            self.plan.steps_left(self.progress),
            {**scalars, "grad_norm": norm, "step_total": self.progress.step},
        )

    def validate_pending(self) -> None:
        """Validates what was saved as pending, and says how to go on if that fails."""
        try:
            with self.average.applied():
                self.validate()
        except Stopped:
            raise
        except Exception as error:
            advice = (
                f"The epoch is trained and saved ({self.held}): once the cause is removed, "
                "--resume auto goes on with its validation; without --validate, with the training"
            )
            if isinstance(error, UserError):
                raise type(error)(f"{error}\n{advice}") from error
            log.error("the validation failed. %s", advice)
            raise

    def validate(self) -> None:
        """Tests on the validation split; a new best is saved at once."""
        assert self.validation is not None
        epoch, step = self.plan.epochs_begun(self.progress), self.progress.step
        score, metric = self.validation.test(self.model, self.meters, epoch, step, self.stop)
        if self.model.has_validation_choice():
            self.held = ""
        best = self.progress.best
        if best is None or (score > best if metric.higher_is_better else score < best):
            self.progress = replace(self.progress, best=score, stale=0, pending=False)
            log.info("best so far: %s = %.4f", metric.best, score)
            self.save(BEST)
            return
        stale = self.progress.stale + 1
        self.progress = replace(self.progress, stale=stale, pending=False)
        if self.plan.is_stale(self.progress):
            log.info("no better for %d validations: this is the end", stale)

    # ----------------------------------------------------------------- save and resume

    def save(self, tag: str) -> None:
        """Has rank 0 write a checkpoint beside training; all ranks call it. Raises NotFinite."""
        check_weights(self.model, self.progress.step)
        arrays = {}
        if self.world.is_main or self.world.sharding:
            arrays = state_by_structured_name(self.updater.optimizer, self.model)
            arrays = self.world.collect(arrays)
        if self.world.is_main:
            weights = self.model.to_released(self.model.state_dict())
            optimizer = {
                "optimizer": arrays,
                "scaler": self.amp.scaler.state_dict(),
                "average": self.average.state(),
            }
            self.saver.save(tag, weights, optimizer, self.progress, self.describe())
        self.saver.begin(self.plan.position(self.progress))
        if tag not in (BEST, AVERAGE):
            self.held = tag

    def describe(self) -> dict[str, Any]:
        """What a checkpoint says of this run."""
        return {**describe(self.run), "begun_steps_per_epoch": self.plan.pace.begun}

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Puts back what ``checkpoint`` holds."""
        restore(checkpoint, self.run, self.model, self.updater, self.average)
        # Also where sizes have changed: its schedule counted steps of another size.
        self.updater.schedule.set_state_dict({"step": self.plan.steps_done(self.progress)})
        if self.validation is None:
            self.progress = replace(self.progress, pending=False)
        self.held = checkpoint.tag
        log.info(
            "resumed %s: %d epochs done, step %d",
            checkpoint.tag,
            self.progress.epoch,
            self.progress.step,
        )
