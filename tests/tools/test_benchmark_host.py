"""What a training step asks of the host, as the benchmark ``host`` counts it."""

from __future__ import annotations

import paddle
import pytest

from benchmarks import host

#: The most operators, copies to the device and waits for it of a step at full depth.
MOST = {"float32": (2000, 2, 1), "hard negatives": (3120, 3, 2)}


@pytest.mark.skipif(paddle.__version__.startswith("2."), reason="Paddle 2 has no operator for all")
@pytest.mark.parametrize("case", host.CASES)
def test_a_step_starts_few_operators_and_waits_for_nothing_but_its_norm(case, tmp_path):
    with host.as_on_gpu():
        trainer, window = host.tiny_trainer(tmp_path, host.CASES[case])
        for _ in range(2):
            trainer.train_step(window)
        counts = host.counts_of_step(trainer, window, tmp_path / "trace.json")
    trainer.meters.close()
    trainer.saver.close()
    trainer.run.lock.release()
    sums = [sum(each.values()) for each in counts.values()]
    assert all(found <= most for found, most in zip(sums, MOST[case], strict=True)), counts
    assert counts["operators"]["optimizer"] <= 4 and counts["operators"]["gradient norm"] <= 3
    assert counts["waits"]["gradient norm"] == 1
    assert min(counts["operators"]["forward"], counts["operators"]["backward"]) > 500


def test_reads_and_copies_are_counted_once_in_their_part():
    with host.counted(paddle.Tensor, host.READS, ["forward"], waits := host.Counter()):
        assert float(paddle.ones([])) == 1 and paddle.ones([2]).tolist() == [1, 1]
    with host.counted(paddle, ["to_tensor"], ["input"], copies := host.Counter()):
        paddle.to_tensor([1])
    paddle.to_tensor([1])
    assert waits == {"forward": 2} and copies == {"input": 1}
