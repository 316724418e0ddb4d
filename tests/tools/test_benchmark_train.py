"""What ``tools/benchmark.py train`` counts and compares."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import train, train_batches


def masks(words=12, labelled=2, clips=8):
    batch = {
        "text_mask": np.zeros((clips, 36), int),
        "image_mask": np.ones((clips, 37), int),
        "action_mask": np.ones((clips, 5), int),
        "text_labels": np.full((clips, 36), -1),
        "image_label": np.full((clips, 36), -1),
        "action_label": np.full((clips, 5), -1),
    }
    batch["text_mask"][:, :words] = 1
    batch["text_labels"][:, :labelled] = 7
    return batch


def test_needed_arithmetic_counts_words_and_labels_but_no_padding():
    """A word goes through 11 layers, two tangled ones and the last layer's keys and values."""
    needed = train_batches.needed_gflop
    a_word = 11 * (4 * 768**2 + 2 * 768 * 3072) + 2 * 768**2
    a_word += 2 * (4 * 768 * 1024 + 2 * 768 * 3072)
    assert needed(masks(words=13)) - needed(masks()) == pytest.approx(3 * 2 * 8 * a_word / 1e9)
    a_label = 2 * 768**2 + 2 * 768 * 3072 + 768 * (768 + 30522)
    assert needed(masks(labelled=3)) - needed(masks()) == pytest.approx(3 * 2 * 8 * a_label / 1e9)
    assert 90 < needed(masks()) < 130


def test_drawn_captions_are_as_long_as_real_ones():
    lengths = [len(text.split()) + 2 for text in train_batches.read_captions(None)]
    assert 11 < np.mean(lengths) < 13 and min(lengths) >= 3 and max(lengths) <= 36


def test_captions_come_from_a_file(tmp_path):
    path = tmp_path / "captions.csv"
    path.write_text('key,vid_key,video_id,sentence\nret0,msr0,video0,"one, two"\n')
    assert train_batches.read_captions(path) == ["one, two"]


def test_losses_that_differ_are_told():
    for ours, agree in (([2.0, 1.0], True), ([2.0, 1.001], False)):
        report = {}
        train.compare(report, {"ours": ours, "peer": [2.0, 1.0]})
        assert report["losses_agree"] == agree
        assert report["loss_differences"] == pytest.approx([0.0, ours[1] - 1.0])
