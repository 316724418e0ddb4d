"""Estimates for GPUs, with numbers worked out by hand."""

from __future__ import annotations

import re
from dataclasses import replace

import paddle
import pytest
from paddle import nn

from paddlevideo.cli import run as main
from paddlevideo.modeling import BaseFramework
from paddlevideo.runtime import Amp, recompute_layers
from paddlevideo.tasks.cards import (
    CARDS,
    Card,
    Kept,
    Needs,
    card_lines,
    card_named,
    count_kept,
    count_operators,
    recommend,
)
from paddlevideo.utils.amp_settings import AmpSettings
from tests.tiny_data import make_project

GIB = 2**30
#: 10 GiB, of which 0.9 x 10 - 1 = 8 are planned with; 100 TFLOP/s; 1,000 GB/s.
CARD = Card("Example", 10, 100, 1000, has_bfloat16=True)
#: 6 bytes x 2^28 weights, 4 x 2^28 gradients and 1.5 GiB for the optimizer: 4 GiB. 4 are left.
NEEDS = Needs(
    parameters=2**28,
    trained=2**28,
    optimizer_bytes=1.5 * GIB,
    average_bytes=0.0,
    clip=Kept(GIB / 40, GIB / 120, 1e12),
    operators=1000,
    clip_seconds=0.25,
    batch_size=8,
)


def test_the_largest_power_of_two_that_fits():
    """4 GiB hold 160 clips, so 128: 3 x 128 TFLOP at 30 of 100 TFLOP/s take 12.8 s."""
    advice = recommend(CARD, NEEDS)
    assert NEEDS.fixed_bytes == 4 * GIB
    assert (advice.batch_size, advice.recompute, advice.dtype) == (128, False, "bfloat16")
    # Adam moves 28 bytes of 2^28 parameters at 1e12 bytes/s.
    seconds = 12.8 + 28 * 2**28 / 1e12
    assert advice.speed == pytest.approx(128 / seconds)
    assert advice.workers == 3  # 9.99 clips/s x 0.25 s = 2.5


def test_layers_are_recomputed_where_the_recipes_batch_does_not_fit():
    """For 200 clips; recomputed, 480 fit, of which 256 are recommended, in 4 passes."""
    advice = recommend(CARD, replace(NEEDS, batch_size=200))
    assert (advice.batch_size, advice.recompute) == (256, True)
    assert advice.speed == pytest.approx(256 / (4 * 256 / 30 + 28 * 2**28 / 1e12))


def test_a_host_that_is_slower_than_the_card_limits_the_speed():
    needs = replace(NEEDS, operators=10**7)  # 17 us each: 170 s
    assert recommend(CARD, needs).speed == pytest.approx(128 / 170)


def test_what_does_not_fit_and_what_is_not_known():
    small = replace(CARD, memory=5.5, has_bfloat16=False)  # 3.95 GiB
    advice = recommend(small, NEEDS)
    assert (advice.batch_size, advice.dtype, advice.speed) == (0, "float16", 0.0)
    unknown = recommend(card_named("Future 1", 10, True), NEEDS)
    assert (unknown.batch_size, unknown.speed) == (128, 0.0)
    _, first, second, *_ = card_lines([small, card_named("Future 1", 10, True)], NEEDS)
    assert "too large" in first and "unknown" in second


def test_one_clip_fits_exactly():
    left = (0.9 * 10 - 1 - 4) * GIB
    needs = replace(NEEDS, clip=Kept(left, left, 1e12), batch_size=1)
    assert recommend(CARD, needs).batch_size == 1
    average = replace(needs, average_bytes=4.0)
    assert recommend(CARD, average).batch_size == 0
    nothing = replace(needs, clip=Kept(0.0, 0.0, 0.0))  # a model without gradients
    assert recommend(CARD, nothing).batch_size == 256


@pytest.mark.parametrize(
    ("driver", "memory", "name", "gigabytes"),
    [
        ("NVIDIA A100-SXM4-80GB", 79.2, "A100", 80),
        ("NVIDIA A100-PCIE-40GB", 39.4, "A100", 40),
        ("Tesla V100-SXM2-16GB", 15.8, "V100", 16),
        ("Tesla T4", 14.6, "T4", 16),
        ("NVIDIA A10", 22.2, "A10", 24),
        ("NVIDIA GeForce RTX 3090", 23.7, "RTX 3090", 24),
        ("NVIDIA H100 80GB HBM3", 79.1, "H100", 80),
        ("NVIDIA GeForce RTX 3090 Ti", 23.7, None, 0),
        ("NVIDIA A10G", 22.2, None, 0),
    ],
)
def test_a_card_is_known_by_the_drivers_name(driver, memory, name, gigabytes):
    found = card_named(driver, memory, True)
    same = [card for card in CARDS if (card.name, card.memory) == (name, gigabytes)]
    assert found.memory == memory
    assert [card.peak for card in same] == ([found.peak] if found.peak else [])


# ------------------------------------------------------------------------------ counting


class Block(nn.Layer):
    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(20, 30)

    def forward(self, x):
        return nn.functional.gelu(self.dense(x))


class Two(BaseFramework):
    """Two recomputable blocks of (clips, 20) -> (clips, 30), and a sum of their squares."""

    def __init__(self):
        super().__init__()
        self.first, self.second = Block(), Block()

    def forward(self, batch, counts=None):
        x = paddle.to_tensor(batch["x"])
        left, right = self.first(x), self.second(x)
        return {"loss": (left * right).sum()}

    def recomputable(self):
        return [self.first, self.second]


@pytest.mark.parametrize("recomputes", [False, True])
def test_what_is_kept_and_multiplied_is_counted(recomputes):
    model = Two()
    if recomputes:
        recompute_layers(model.recomputable())
    batch = {"x": paddle.ones([10, 20]).numpy()}
    kept = count_kept(model, batch, Amp(AmpSettings(), "cpu"))
    # Two bytes each of: x, once; before gelu, in both; after gelu, in both, for the product.
    assert kept.everything == 2 * (20 + 2 * 30 + 2 * 30)
    # The product's factors, the blocks' input, and while the first is recomputed, what it keeps.
    assert kept.recomputed == 2 * (2 * 30 + 20 + (20 + 30))
    assert kept.operations == 2 * 2 * 20 * 30


def test_hooks_are_gone_after_counting():
    model, batch = Two(), {"x": paddle.ones([10, 20]).numpy()}
    amp = Amp(AmpSettings(), "cpu")
    first = count_kept(model, batch, amp)
    assert count_kept(model, batch, amp) == first
    layers = model.sublayers()
    assert not any(x._forward_pre_hooks or x._forward_post_hooks for x in layers)


def test_operators_are_counted():
    x = paddle.ones([2, 2])
    assert count_operators(lambda: paddle.tanh(paddle.exp(x))) == 2


def test_a_dry_run_shows_estimates(tmp_path, capsys):
    project = make_project(tmp_path)
    assert main.main(["-c", str(project), "--dry_run"]) == 0
    text = capsys.readouterr().out
    (table,) = re.findall(r"\nestimated settings.*?\n((?:  .+\n)+)", text)
    lines = table.splitlines()
    assert len(lines) == len(CARDS) + 2 and "operators a step" in lines[-1]
    assert all(re.search(r" 256 +b?float16 +False +\d+ +[\d,]+$", line) for line in lines[1:-1])
