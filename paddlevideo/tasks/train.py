"""Training: the loop names no model and has one path for one rank or many, with or without AMP."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from paddlevideo.checkpoint import AVERAGE, BEST, Checkpoints, Progress
from paddlevideo.config import Config
from paddlevideo.modeling import accuracies_of, build_model, load_weights
from paddlevideo.modeling.weights import assign
from paddlevideo.runtime import Amp, recompute_layers, seed_everything
from paddlevideo.solver import build_optimizer, build_schedule
from paddlevideo.solver.average import WeightAverage
from paddlevideo.solver.groups import rate_factors
from paddlevideo.solver.state import load_state_by_structured_name, state_by_structured_name
from paddlevideo.solver.updater import Updater
from paddlevideo.tasks.accumulation import in_windows, loss_shares, weigh, window_length
from paddlevideo.tasks.evaluate import evaluate
from paddlevideo.tasks.guard import FLOAT16_SKIPS, Guard, NotFinite, check_weights, log_not_finite
from paddlevideo.tasks.meters import Meters
from paddlevideo.tasks.profiling import Profile, ProfilerOptions, profiler_options
from paddlevideo.tasks.resuming import (
    batch_size,
    checkpoint_to_resume,
    describe,
    place_in_epoch,
)
from paddlevideo.tasks.saving import Saver
from paddlevideo.tasks.setup import (
    Run,
    build_metric,
    check_sizes,
    fitting_loader,
    lookup,
    start_run,
    test_loader,
    train_loader,
)
from paddlevideo.utils.errors import WeightsError
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
    run = start_run(config, "train", validate, fleet)
    trainer = Trainer(run, weights, validate, options)
    try:
        return trainer.fit()
    finally:
        trainer.meters.close()
        trainer.profile.close()


class Trainer:
    """The state of a training run, and its loop."""

    def __init__(
        self,
        run: Run,
        weights: str | None,
        validate: bool,
        profile: ProfilerOptions | None,
    ) -> None:
        self.run, self.settings, self.world = run, run.settings, run.world
        self.loader = train_loader(run)
        self.window = window_length(run)
        self.steps_per_epoch = -(-len(self.loader) // self.window)
        self.validation = test_loader(run, "valid") if validate else None
        self.model = build_model(run.config.MODEL)
        check_sizes(self.model, train=self.loader, valid=self.validation and self.validation[1])
        if weights:
            load_weights(self.model, weights)
        self.model.connect(self.world.gather_rows)
        self.amp = Amp(self.settings.amp, run.device)
        self._build_updater()
        checkpoints = Checkpoints(run.folder, self.settings.model_name, self.settings.keep)
        self.saver = Saver(checkpoints, self.settings.save_steps, self.settings.save_minutes)
        self.average = WeightAverage(self.model, self.settings.ema_decay)
        self.guard = Guard(self._allowed_skips(), self.loader.reader.dataset.name_of)
        self.stop = StopRequest()
        self.progress = Progress()
        self._resume()
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
        total = self.steps_per_epoch * self.settings.epochs
        schedule = build_schedule(config["learning_rate"], self.steps_per_epoch, total)
        optimizer = build_optimizer(config, schedule, self.model, self.amp.multi_precision)
        self.model, optimizer = self.amp.decorate(self.model, optimizer)
        optimizer = self.world.wrap_optimizer(optimizer)
        factors = rate_factors(self.model.parameters())
        self.updater = Updater(optimizer, schedule, self.amp.scaler, factors)

    # ------------------------------------------------------------------------------ loop

    def fit(self) -> Progress:
        """Runs all epochs that are left. Raises Stopped, with all saved, if a signal asks it to."""
        self.saver.begin(self.progress.step)
        if self.model.fits() and not self.progress.batches and not self.progress.epoch:
            self.fit_closed_form()
        with self.stop:
            try:
                while not self._is_over():
                    self.run_epoch()
            except (Stopped, NotFinite):
                self.world.rest()
                with log_not_finite():
                    self.save(Checkpoints.step_tag(self.progress.step))
                self.end()
                raise
            self.end()
        return self.progress

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
        """The rest of an epoch and, where they are due, its validation and its checkpoint."""
        self.train_epoch()
        # The epoch counts as finished after its validation only, so that a run which is stopped
        # in that comes back to it.
        if self.validation and self._is_due(self.settings.val_interval):
            with self.average.applied():
                self.validate()
        if self.progress.batches == len(self.loader):
            self.progress = replace(self.progress, epoch=self.progress.epoch + 1, batches=0)
        if self._is_due(self.settings.save_interval):
            self.save(Checkpoints.epoch_tag(self._epochs_begun()))
            if self.settings.ema_decay:
                with self.average.applied():
                    self.save(AVERAGE)

    def train_epoch(self) -> None:
        """Trains to the end of the current epoch, or to ``max_iters``."""
        epoch, done = self.progress.epoch, self.progress.batches
        self.model.train()
        windows = in_windows(self.loader.epoch(epoch, start=done), self.window)
        left = self.steps_per_epoch - done // self.window
        if self.world.is_main:
            windows = track(windows, f"epoch {epoch + 1}", left, "steps")
        for window in self.meters.timed(windows):
            self.train_step(window)
            self.profile.step()
            self.attend()
            if self._reached_limit():
                return

    def attend(self) -> None:
        """Between two steps: saves if it is time, ends if it was asked to; all ranks together."""
        is_due = self.world.is_main and self.saver.is_due(self.progress.step)
        stops, saves = self.world.sum([self.stop.received is not None, is_due])
        self.world.rest()
        if stops:
            raise Stopped(self.stop.received)
        is_last = self.progress.batches == len(self.loader)
        if saves and not (is_last and self._is_due(self.settings.save_interval)):
            self.save(Checkpoints.step_tag(self.progress.step))

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
            self.average.update()
            self.guard.good()
            self.meters.add(seen, hits, sum(len(next(iter(b.values()))) for b in window))
        else:
            self.guard.bad(self.progress.step + 1, seen, window, self.model)
            self.updater.skip()
        step_in_epoch = self.progress.batches // self.window
        self.progress = replace(
            self.progress,
            batches=self.progress.batches + len(window),
            step=self.progress.step + 1,
        )
        self.meters.end_step(
            self.progress.epoch + 1,
            step_in_epoch,
            self.total_steps() - self.progress.step,
            {**scalars, "grad_norm": norm, "step_total": self.progress.step},
        )

    def validate(self) -> None:
        """Tests on the validation split; a new best is saved at once."""
        assert self.validation is not None
        dataset, loader = self.validation
        metric = build_metric(self.run, dataset)
        results = evaluate(
            self.model, dataset, loader, metric, self.world, self.amp, stop=self.stop
        )
        results = self.world.gather(results)[0]
        self.model.adopt(results)
        score = lookup(results, metric.best)
        if self.world.is_main:
            results.pop("stages", None)
            numbers = " ".join(f"{k}: {v:.4g}" for k, v in flatten(results).items())
            log.info("valid epoch:%d %s", self._epochs_begun(), numbers)
            self.meters.write_scalars(self.progress.step, flatten(results, "valid."))
        best = self.progress.best
        if best is None or (score > best if metric.higher_is_better else score < best):
            self.progress = replace(self.progress, best=score, stale=0)
            log.info("best so far: %s = %.4f", metric.best, score)
            self.save(BEST)
            return
        self.progress = replace(self.progress, stale=self.progress.stale + 1)
        if self._is_stale():
            log.info("no better for %d validations: this is the end", self.progress.stale)

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
            self.saver.save(tag, weights, optimizer, self.progress, describe(self.run))

    def _resume(self) -> None:
        checkpoint = checkpoint_to_resume(self.run, self.saver.checkpoints)
        if checkpoint is None:
            return
        report = assign(self.model, self.model.from_released(checkpoint.weights), checkpoint.tag)
        if report.missing or report.misshapen:
            raise WeightsError(
                f"{checkpoint.tag} in {self.run.folder} is of another model, so it cannot be "
                f"resumed. Start in another output_dir, or load it with -w.\n{report}"
            )
        state = checkpoint.optimizer
        load_state_by_structured_name(self.updater.optimizer, self.model, state["optimizer"])
        if state.get("scaler"):
            self.amp.scaler.load_state_dict(dict(state["scaler"]))
        self.average.load(state.get("average"))
        at_once = batch_size(self.run) * self.world.size
        self.progress = place_in_epoch(checkpoint.progress, checkpoint.extra, at_once, self.window)
        log.info(
            "resumed %s: %d epochs done, step %d",
            checkpoint.tag,
            self.progress.epoch,
            self.progress.step,
        )

    # -------------------------------------------------------------------------- counts

    def _allowed_skips(self) -> int:
        """Steps in a row that may be left out because something is not finite."""
        if self.settings.max_skipped_steps is not None:
            return self.settings.max_skipped_steps
        return FLOAT16_SKIPS if self.amp.enabled and self.settings.amp.dtype == "float16" else 0

    def _epochs_begun(self) -> int:
        """Number of the epoch that ended last or, after an early stop, of the current one."""
        return self.progress.epoch + (self.progress.batches > 0)

    def _is_due(self, interval: int) -> bool:
        epoch = self._epochs_begun()
        last = epoch >= self.settings.epochs or self._reached_limit() or self._is_stale()
        return last or epoch % interval == 0

    def _is_over(self) -> bool:
        done = self.progress.epoch >= self.settings.epochs
        return done or self._reached_limit() or self._is_stale()

    def _is_stale(self) -> bool:
        """Whether ``patience`` validations in a row were no better than the best."""
        return 0 < self.settings.patience <= self.progress.stale

    def _reached_limit(self) -> bool:
        limit = self.settings.max_iters
        return limit is not None and self.progress.step >= limit

    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        total = self.steps_per_epoch * self.settings.epochs
        return min(total, self.settings.max_iters or total)


def flatten(results: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested results under dotted keys."""
    flat: dict[str, float] = {}
    for key, value in results.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, (int, float)):
            flat[prefix + key] = float(value)
    return flat
