"""Layers that are computed again in the backward pass: less memory, the same numbers."""

from __future__ import annotations

import sys

import numpy as np
import paddle
import pytest

from paddlevideo.cli import run as main
from paddlevideo.runtime import recompute_layers, seed_everything
from paddlevideo.safe_pickle import load_state
from paddlevideo.tasks.train import Trainer
from tests.modeling.tiny import build, make_batch
from tests.tiny_data import make_project


def losses_and_gradients(recomputed, **changes):
    """Of two backward passes, whose gradients add up; dropout is on."""
    model = build(**changes)
    if recomputed:
        recompute_layers(model.recomputable())
    model.train()
    losses = []
    for number in range(2):
        seed_everything(3, number)
        losses.append(model(make_batch(number)))
        losses[-1]["loss"].backward()
        after = paddle.rand([2]).numpy()  # the generator goes on as if nothing had been
    gradients = {n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None}
    named = [{name: float(value) for name, value in step.items()} for step in losses]
    return named, gradients, after.tolist()


@pytest.mark.parametrize(
    "changes", [{}, {"tangle": "paper"}, {"fixed_t_layer": 1}, {"match_negatives": 1}], ids=str
)
def test_losses_and_gradients_are_equal_bit_for_bit(changes):
    losses, gradients, after = losses_and_gradients(False, **changes)
    again, recomputed, after_again = losses_and_gradients(True, **changes)
    assert losses == again and after == after_again
    assert gradients.keys() == recomputed.keys() and len(gradients) > 50
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, recomputed[name], name)


def test_each_layer_runs_twice_in_training_and_once_otherwise():
    model, calls = build(), []
    layers = model.recomputable()
    for layer in layers:
        forward = layer.forward
        layer.forward = lambda *a, forward=forward, **o: (calls.append(1), forward(*a, **o))[1]
    recompute_layers(layers)
    model.train()
    loss = model(make_batch())["loss"]
    assert len(calls) == len(layers) == 3 + 2 + 2 + 2
    loss.backward()
    assert len(calls) == 2 * len(layers)
    with paddle.no_grad():
        model(make_batch())
    model.eval()
    model(make_batch())["loss"].backward()
    assert len(calls) == 4 * len(layers)


def test_a_run_that_recomputes_ends_with_the_same_weights(tmp_path, monkeypatch):
    config, ends, seen = str(make_project(tmp_path)), [], []
    # tasks.train is the function of that name, not the module.
    training = sys.modules[Trainer.__module__]
    monkeypatch.setattr(training, "recompute_layers", spy(seen))
    for recompute in (False, True):
        output = tmp_path / str(recompute)
        changes = [f"output_dir={output}", f"recompute={recompute}", "epochs=1"]
        assert main.main(["-c", config, "-o", *changes]) == 0
        ends.append(load_state(output / "Tiny_epoch_00001.pdparams"))
    assert len(seen) == 1
    for name, array in ends[0].items():
        np.testing.assert_array_equal(array, ends[1][name], name)


def spy(seen):
    def call(layers):
        seen.append(layers)
        recompute_layers(layers)

    return call
