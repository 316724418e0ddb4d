"""Counters have units: a run with other sizes keeps its schedule, its end and its checkpoints."""

from __future__ import annotations

import json

import pytest

from paddlevideo.checkpoint import Progress
from paddlevideo.cli import run as main
from paddlevideo.config import RunSettings
from paddlevideo.registry import SCHEDULES
from paddlevideo.solver import Pace, build_schedule
from paddlevideo.tasks.accumulation import Sizes
from paddlevideo.tasks.plan import Plan
from tests.tiny_data import make_project

EPOCHS = 6
BEGUN = 4  # steps of an epoch

WARMUP = {"warmup_start_lr": 0.01, "warmup_epochs": 2, "max_epoch": EPOCHS}
#: Every schedule, with settings in steps or epochs that fall into its run of 24 steps.
ARGUMENTS = {
    "ConstantLR": {"base_lr": 1.0},
    "PiecewiseDecay": {"boundaries": [2, 4], "values": [3.0, 2.0, 1.0]},
    "CustomPiecewiseDecay": {"boundaries": [2, 4], "values": [3.0, 2.0, 1.0]},
    "CustomWarmupCosineDecay": {**WARMUP, "cosine_base_lr": 1.0},
    "CustomWarmupPiecewiseDecay": {
        **WARMUP, "step_base_lr": 1.0, "lrs": [1.0, 0.1], "steps": [0, 4]
    },
    "CustomWarmupCosineStepDecay": {"warmup_iters": 2, "base_lr": 1.0, "max_epoch": EPOCHS},
    "CustomWarmupAdjustDecay": {
        "step_base_lr": 1.0, "warmup_epochs": 2, "lr_decay_rate": 0.5, "boundaries": [3]
    },
    "WarmupLinearDecay": {"base_lr": 1.0, "warmup_steps": 6},
    "WarmupCosineDecay": {"base_lr": 1.0, "warmup_steps": 0.25},
    "WarmupPiecewiseDecay": {
        "boundaries": [8, 0.75], "values": [1.0, 0.1, 0.01], "warmup_steps": 6
    },
}  # fmt: skip


def test_every_schedule_is_listed():
    shipped = {n for n in SCHEDULES if SCHEDULES.get(n).__module__.startswith("paddlevideo.")}
    assert shipped == set(ARGUMENTS)  # other tests register their own


def rates(schedule, epochs):
    """Rate at the start of each step, by its position in epochs."""
    found = {}
    for _ in range(round(epochs * schedule.pace.now)):
        found[schedule.last_epoch / schedule.pace.now] = schedule.get_lr()
        schedule.step()
    return found


@pytest.mark.parametrize("iter_step", [True, False])
@pytest.mark.parametrize("name", sorted(ARGUMENTS))
@pytest.mark.parametrize("now", [2, 8, 3, 1])  # 2: twice as many ranks; 8: batch halved, half
def test_rates_over_epochs_are_those_of_the_undisturbed_run(name, iter_step, now):
    config = {"name": name, "iter_step": iter_step, **ARGUMENTS[name]}
    undisturbed = rates(build_schedule(config, BEGUN, BEGUN * EPOCHS), EPOCHS)
    resumed = build_schedule(config, now, now * EPOCHS, BEGUN)
    resumed.set_state_dict({"step": 2 * now})
    later = rates(resumed, EPOCHS - 2)
    common = [epoch for epoch in later if epoch in undisturbed]
    assert len(common) >= EPOCHS - 2
    for epoch in common:
        assert later[epoch] == pytest.approx(undisturbed[epoch], abs=1e-12), epoch
    overshoots = name == "CustomWarmupAdjustDecay" and iter_step  # so does PaddleVideo's curve
    assert overshoots or max(later.values()) <= max(undisturbed.values()) + 1e-9


def plan(now, **settings):
    return Plan(RunSettings(epochs=EPOCHS, **settings), Sizes(4, now, 1), Pace(BEGUN, now), True)


@pytest.mark.parametrize(("now", "end"), [(4, 10), (2, 5), (8, 20), (3, 8)])
def test_max_iters_means_as_many_samples_as_when_the_run_was_begun(now, end):
    limited = plan(now, max_iters=10)
    assert limited.total_steps() == end
    steps = [
        step
        for step in range(EPOCHS * now + 1)
        if limited.reached_limit(Progress(epoch=step // now, batches=step % now))
    ]
    assert steps[0] == end
    assert limited.steps_left(Progress(epoch=1)) == end - now
    assert limited.steps_left(Progress(epoch=EPOCHS)) == 0
    assert plan(now).total_steps() == EPOCHS * now


def test_sizes_that_did_not_change_round_nothing():
    pace = Pace(7, 7)
    assert all(type(pace.as_begun(step)) is int for step in range(50))
    assert type(pace.ratio) is int and pace.ratio == 1
    assert [pace.as_now(step) for step in range(50)] == list(range(50))


SCHEDULE = "OPTIMIZER.learning_rate={name: WarmupPiecewiseDecay, warmup_steps: 6, boundaries: [10]"


def records(folder):
    lines = (folder / "train.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if "lr" in record]


def test_a_run_with_the_batch_halved_goes_on_at_the_same_epochs(tmp_path, capsys):
    path = make_project(tmp_path)

    def run(name, *changes):
        arguments = ["-c", str(path), "-o", f"output_dir={tmp_path / name}", "epochs=4"]
        assert main.main([*arguments, SCHEDULE + ", values: [0.001, 0.0001]}", *changes]) == 0
        return records(tmp_path / name)

    whole = {record["step_total"]: record["lr"] for record in run("whole")}
    run("halved", "max_iters=6")
    capsys.readouterr()
    halved = ["DATASET.batch_size=2", "resume=auto", "force=True", "save_steps=2", "keep=0"]
    resumed = run("halved", *halved, "max_iters=13")
    text = capsys.readouterr().out
    assert "an epoch has 8 optimizer steps instead of the 4 it had when the run was begun" in text
    assert "eta: -" not in text
    assert [record["step_total"] for record in resumed] == list(range(1, 21))
    for record in resumed[6:]:
        done = (record["epoch"] - 1) * 4 + record["step"] / 2
        assert done != int(done) or record["lr"] == pytest.approx(whole[int(done) + 1])
    progress = json.loads((tmp_path / "halved" / "Tiny_latest.json").read_text())["latest"]
    assert progress == "epoch_00004", "of 13 steps as they were"
    again = run("halved", *halved)  # from a checkpoint that was itself resumed
    assert [record["step_total"] for record in again] == list(range(1, 27))
    assert again[-1]["lr"] == pytest.approx(0.0001)
    assert not list((tmp_path / "halved").glob("Tiny_step_0000000[79]*")), "every second as it was"
