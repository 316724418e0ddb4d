"""Two processes on one machine, started as users start them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.tiny_data import NO_DROPOUT, make_project

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow

#: Imported by every rank: also leaves each rank's own weights behind.
WITNESS = """
import numpy as np
from paddlevideo.tasks.train import Trainer

save = Trainer.save

def save_and_witness(self, tag):
    arrays = {name: tensor.numpy() for name, tensor in self.model.state_dict().items()}
    np.savez(self.run.folder / f"rank{self.world.rank}_{tag}.npz", **arrays)
    save(self, tag)

Trainer.save = save_and_witness
"""


def environment(folder):
    path = os.pathsep.join([str(ROOT), str(folder), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}


def command(folder, processes, *arguments):
    launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", str(processes)]
    start = [sys.executable, *launch, "--log_dir", str(folder / f"log{processes}")]
    return [*start, str(ROOT / "main.py"), "-c", str(folder / "tiny.yaml"), *arguments]


def launch(folder, processes, *arguments):
    return subprocess.run(
        command(folder, processes, *arguments),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same training with one and with two processes, on the same global batches."""
    folder = tmp_path_factory.mktemp("distributed")
    make_project(folder)
    (folder / "witness.py").write_text(WITNESS)
    for processes in (1, 2):
        done = launch(
            folder,
            processes,
            "--validate",
            "--import",
            "witness",
            "-o",
            *NO_DROPOUT,
            f"output_dir={folder / str(processes)}",
            f"DATASET.batch_size={4 // processes}",
            "MODEL.backbone.fixed_t_layer=1",
            "GRADIENT_ACCUMULATION.global_batch_size=8",
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def records(folder):
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


def test_two_processes_have_the_losses_of_one(runs):
    one, two = records(runs / "1"), records(runs / "2")
    assert len(one) == len(two) == 6
    for first, second in zip(one, two, strict=True):
        for name in first:
            if name.endswith("loss"):
                assert second[name] == pytest.approx(first[name], rel=1e-5), name


def test_two_processes_have_the_accuracies_of_one(runs):
    one, two = records(runs / "1"), records(runs / "2")
    names = [f"{kind}_accuracy" for kind in ("word", "region", "action", "match")]
    for first, second in zip(one, two, strict=True):
        for name in names:
            assert second.get(name) == pytest.approx(first.get(name)), name
    found = {name: [record[name] for record in one if name in record] for name in names}
    assert all(found.values()), "all are asked for"
    assert any(0 < value < 1 for values in found.values() for value in values)


def test_both_ranks_hold_equal_weights(runs):
    first, second = (np.load(runs / "2" / f"rank{r}_epoch_00002.npz") for r in (0, 1))
    single = np.load(runs / "1" / "rank0_epoch_00002.npz")
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], name)
        # The gradient of a bias of keys is rounding alone (test_actbert.py), which Adam scales to
        # the size of its rate, 1e-3, in every step; no output depends on it.
        slack = 6e-3 if name.endswith("key.bias") else 1e-5
        np.testing.assert_allclose(first[name], single[name], 1e-3, slack, err_msg=name)


def test_a_test_gives_identical_numbers_with_one_two_and_three_processes(runs):
    weights = str(runs / "1" / "Tiny_best.pdparams")
    results, matrices = [], []
    for processes in (1, 2, 3):
        output = runs / f"test{processes}"
        changes = [f"output_dir={output}", "score_matrix=True"]
        done = launch(runs, processes, "--test", "-w", weights, "-o", *changes)
        assert done.returncode == 0, done.stdout + done.stderr
        results.append(json.loads((output / "results.json").read_text()))
        matrices.append(np.load(output / "scores.npz")["scores"])
    for other, matrix in zip(results[1:], matrices[1:], strict=True):
        assert other["text_to_video"] == results[0]["text_to_video"]
        assert other["video_to_text"] == results[0]["video_to_text"]
        np.testing.assert_array_equal(matrix, matrices[0])


@pytest.fixture(scope="module")
def head_runs(runs):
    """A model with a retrieval head, trained by one and by two processes."""
    folder = runs / "head"
    folder.mkdir()
    make_project(folder)
    recipe = yaml.safe_load((folder / "tiny.yaml").read_text())
    recipe["MODEL"]["retrieval_head"] = {"name": "RetrievalHead", "width": 8, "dropout": 0.0}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    for processes in (1, 2):
        changes = [f"output_dir={folder / str(processes)}", f"DATASET.batch_size={4 // processes}"]
        done = launch(folder, processes, "-o", *NO_DROPOUT, *changes, "epochs=1")
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_negatives_come_from_all_processes(head_runs):
    one, two = records(head_runs / "1"), records(head_runs / "2")
    assert len(one) == len(two) == 4
    for first, second in zip(one, two, strict=True):
        for name in ("loss", "retrieval_loss", "match_loss", "retrieval_accuracy"):
            assert second[name] == pytest.approx(first[name], rel=1e-5), name


#: Notes how many clips each rank encodes for the gallery.
COUNTS = """
from pathlib import Path
from paddlevideo.retrieval import test

class Counted(test.Gallery):
    def __init__(self, encode, source, gigabytes, ranks):
        seen = []
        def counted(videos):
            seen.append(len(videos["image_feat"]))
            return encode(videos)
        super().__init__(counted, source, gigabytes, ranks)
        self._encode = encode
        Path(f"encoded{ranks.size}_{ranks.rank}").write_text(str(sum(seen)))

test.Gallery = Counted
"""

DIES = """
import os
import signal
from paddlevideo.retrieval.test import MarginPredictor
from paddlevideo.tasks import saved_rows

saved_rows.SECONDS = 0.0  # every batch is written at once
predict = MarginPredictor.predict

def predict_and_die(self, batch):
    if 6 in batch["index"] and not os.path.exists("{survive}"):
        os.kill(os.getpid(), signal.SIGKILL)
    return predict(self, batch)

MarginPredictor.predict = predict_and_die
"""


def test_two_stages_give_identical_numbers_with_one_two_and_three_processes(head_runs):
    """Seven captions in batches of two; the second job loses a rank, and the third goes on."""
    weights = str(head_runs / "1" / "Tiny_epoch_00001.pdparams")
    (head_runs / "dies.py").write_text(DIES.format(survive=head_runs / "survive"))
    test = ["--test", "-w", weights, "--import", "dies"]
    changes = ["MODEL.top_k=3", f"output_dir={head_runs / 'killed'}"]
    start = time.monotonic()
    done = launch(head_runs, 2, *test, "-o", *changes)
    assert done.returncode != 0, "a rank that dies ends the job"
    assert time.monotonic() - start < 90
    assert not (head_runs / "killed" / "results.json").exists()
    (head_runs / "survive").touch()
    done = launch(head_runs, 3, *test, "--resume", "auto", "-o", *changes)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "samples are already done" in (head_runs / "killed" / "log.txt").read_text()
    outputs = [head_runs / "killed"]
    for processes in (1, 2, 3):
        outputs.append(head_runs / f"test{processes}")
        done = launch(
            head_runs, processes, *test, "-o", "MODEL.top_k=3", f"output_dir={outputs[-1]}"
        )
        assert done.returncode == 0, done.stdout + done.stderr
    results = [json.loads((output / "results.json").read_text()) for output in outputs]
    queries = [(output / "queries.jsonl").read_text() for output in outputs]
    for name in ("text_to_video", "video_to_text", "first_stage", "match_alone"):
        assert all(result[name] == results[0][name] for result in results), name
    assert len({result["stages"]["pairs_scored"] for result in results}) == 1
    assert len(set(queries)) == 1


def test_ranks_share_a_gallery_with_distractors_and_give_the_numbers_of_one(head_runs):
    """Seven clips in batches of two, four of them with captions; no encoded clip is kept."""
    lines = (head_runs / "test.csv").read_text().splitlines()
    (head_runs / "some.csv").write_text("\n".join([*lines[2:6], lines[3]]) + "\n")
    (head_runs / "counts.py").write_text(COUNTS)
    weights = str(head_runs / "1" / "Tiny_epoch_00001.pdparams")
    changes = [
        *(f"DATASET.test.file_path={head_runs / 'some.csv'}", "DATASET.test.gallery=all"),
        *("DATASET.test.gallery_batch=2", "MODEL.gallery_gigabytes=1e-9", "MODEL.top_k=3"),
    ]
    results, queries, counts = [], [], []
    for processes in (1, 2, 3):
        output = head_runs / f"distractors{processes}"
        test = ["--test", "-w", weights, "--import", "counts", "-o", *changes]
        done = launch(head_runs, processes, *test, f"output_dir={output}")
        assert done.returncode == 0, done.stdout + done.stderr
        results.append(json.loads((output / "results.json").read_text()))
        queries.append((output / "queries.jsonl").read_text())
        encoded = sorted(head_runs.glob(f"encoded{processes}_*"))
        counts.append([int(path.read_text()) for path in encoded])
    protocol = results[0]["protocol"]
    assert (protocol["captions"], protocol["videos"], protocol["distractors"]) == (5, 7, 3)
    assert results[0]["chance"]["text_to_video"]["MeanR"] == 4.0
    for name in ("text_to_video", "video_to_text", "first_stage", "match_alone"):
        assert all(result[name] == results[0][name] for result in results), name
    assert len(set(queries)) == 1
    # The first batch of each rank shows how large encoded clips are.
    assert counts == [[7], [4 + 2, 3 + 2], [3 + 2, 2 + 2, 2 + 2]]


def test_a_resumed_run_of_two_processes_equals_one_that_never_stopped(runs):
    changes = ["-o", f"output_dir={runs / 'resumed'}", "DATASET.batch_size=2"]
    whole = ["-o", f"output_dir={runs / 'whole'}", "DATASET.batch_size=2"]
    for arguments in (
        ["--max_iters", "3", *changes],
        ["--resume", "auto", *changes],
        whole,
    ):
        done = launch(runs, 2, "--import", "witness", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    for rank in (0, 1):
        first = np.load(runs / "resumed" / f"rank{rank}_epoch_00002.npz")
        second = np.load(runs / "whole" / f"rank{rank}_epoch_00002.npz")
        for name in first:
            np.testing.assert_array_equal(first[name], second[name], name)


def test_fleet_trains_on_two_processes(runs):
    output = runs / "fleet"
    done = launch(runs, 2, "--fleet", "-o", f"output_dir={output}", "DATASET.batch_size=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (output / "Tiny_epoch_00002.pdparams").is_file()


def test_a_rank_that_fails_ends_the_job_with_its_message(runs):
    broken = runs / "broken.py"
    broken.write_text(
        "import os\n"
        "from paddlevideo.tasks.train import Trainer\n"
        "from paddlevideo.utils.errors import DataError\n"
        "def fail(self, window):\n"
        "    if self.world.rank == 1:\n"
        "        raise DataError('clip042: broken')\n"
        "    return step(self, window)\n"
        "step, Trainer.train_step = Trainer.train_step, fail\n"
    )
    start = time.monotonic()
    done = launch(runs, 2, "--import", "broken", "-o", f"output_dir={runs / 'failed'}")
    assert done.returncode != 0
    assert time.monotonic() - start < 60
    assert "clip042: broken" in (runs / "log2" / "workerlog.1").read_text()


def test_a_literal_launch_trains_the_shipped_recipe_at_a_tiny_size(tmp_path):
    """``python -m paddle.distributed.launch main.py -c actbert.yaml``, with the sizes reduced."""
    make_project(tmp_path)
    data = tmp_path / "data" / "howto100m"
    data.mkdir(parents=True)
    (tmp_path / "train.npy").rename(data / "actbert_train_data.npy")
    (tmp_path / "captions.json").rename(data / "caption_train.json")
    tiny = yaml.safe_load((tmp_path / "tiny.yaml").read_text())
    shipped = ROOT / "configs" / "multimodal" / "actbert" / "actbert.yaml"
    recipe = {
        "_base_": str(shipped),
        "MODEL": {"backbone": {**tiny["MODEL"]["backbone"], "max_position_embeddings": 36}},
        "DATASET": {"batch_size": 4, "num_workers": 0},
        "GRADIENT_ACCUMULATION": {"global_batch_size": 8},
        "epochs": 1,
    }
    (tmp_path / "actbert.yaml").write_text(yaml.safe_dump(recipe))
    os.symlink(ROOT / "main.py", tmp_path / "main.py")
    done = subprocess.run(
        [sys.executable, "-m", "paddle.distributed.launch", "main.py", "-c", "actbert.yaml"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((tmp_path / "output").rglob("*_epoch_00001.pdparams"))


def test_ctrl_c_ends_a_run_without_a_traceback(tmp_path):
    make_project(tmp_path)
    config = ["-c", str(tmp_path / "tiny.yaml"), "-o", "epochs=100000", "save_interval=100000"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), *config],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "train step" in line:
            break
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "Traceback" not in output
