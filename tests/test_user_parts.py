"""A model, a data set, a step and a metric from outside the package train and test."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from paddle import nn

from paddlevideo.cli import run as main
from paddlevideo.metrics.base import Metric, PlainMetric
from paddlevideo.modeling import BaseFramework
from paddlevideo.registry import FRAMEWORKS, METRICS
from paddlevideo.retrieval import MSRVTTMetric
from paddlevideo.utils.errors import ConfigError
from tests.tiny_data import make_project

CONFIG = {
    "MODEL": {"framework": "Regression", "backbone": {"name": "OneNeuron"}},
    "DATASET": {
        "batch_size": 8,
        "train": {"format": "Line", "points": 64},
        "valid": {"format": "Line", "points": 11},
        "test": {"format": "Line", "points": 21},
    },
    "PIPELINE": {"train": {"transform": [{"AddTarget": {"noise": 0.01}}]}},
    "OPTIMIZER": {"name": "Adam", "learning_rate": 0.1},
    "METRIC": {"name": "LargestError"},
    "model_name": "Line",
    "epochs": 15,
    "num_threads": 1,
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A user's folder with parts and a recipe."""
    shutil.copy(Path(__file__).with_name("user_parts.py"), tmp_path / "my_own_parts.py")
    (tmp_path / "line.yaml").write_text(yaml.safe_dump(CONFIG))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


PARTS = ["--import", "my_own_parts", "-c", "line.yaml"]


def test_the_loop_names_no_model(folder):
    accumulate = ["-o", "GRADIENT_ACCUMULATION.global_batch_size=16", "DATASET.num_workers=1"]
    assert main.main([*PARTS, "--validate", *accumulate]) == 0
    output = folder / "output" / "Line"
    assert main.main([*PARTS, "--test", "-w", str(output / "Line_best.pdparams")]) == 0
    assert json.loads((output / "results.json").read_text())["largest_error"] < 0.1


def test_a_metric_writes_files_of_its_own_from_a_frameworks_own_predictions(folder, capsys):
    """What a further task brings: predictions by name, a default metric, files beside results."""
    changes = ["-o", "MODEL.framework=Describer", "METRIC=null"]
    changes += [f"DATASET.{split}.format=WordedLine" for split in ("valid", "test")]
    assert main.main([*PARTS, "--validate", *changes]) == 0
    assert re.search(r"valid epoch:\d+ accuracy \d+; chance 50", capsys.readouterr().out)
    output = folder / "output" / "Line"
    weights = ["-w", str(output / "Line_best.pdparams"), "--report", "page.html"]
    assert main.main([*PARTS, "--test", *weights, *changes]) == 0
    results = json.loads((output / "results.json").read_text())
    assert results["accuracy"] >= 95 and results["chance"] == {"accuracy": 50.0}
    assert results["protocol"]["words"] == 2 and "scoring_seconds" in results["stages"]
    lines = (output / "submission.tsv").read_text().splitlines()
    assert len(lines) == 21 and lines[0] == "point 0\tbelow" and lines[-1] == "point 20\tabove"
    answers = [json.loads(line) for line in (output / "answers.jsonl").open()]
    assert [f"{each['point']}\t{each['word']}" for each in answers] == lines
    assert "--report: WordAccuracy has no page" in capsys.readouterr().out
    assert not (folder / "page.html").exists()


class Plain:
    """A metric as earlier versions had them."""

    best, higher_is_better = "seen", True

    def __init__(self):
        self.seen, self.first = {}, None

    def start(self, first, validating=False):
        self.first = first

    def update(self, index, predictions):
        self.seen.update(zip(index.tolist(), predictions, strict=True))

    def state(self):
        return self.seen

    def merge(self, states):
        for state in states:
            self.seen.update(state)

    def result(self, truth):
        return {"seen": len(self.seen), "scores": sum(len(row) for row in self.seen.values())}

    def chance(self, truth):
        return {"seen": 0.0}


def test_a_plain_metric_gets_the_scores_of_a_retrieval_test(tmp_path, monkeypatch):
    monkeypatch.setitem(METRICS._parts, "Plain", Plain)
    path = make_project(tmp_path, videos=7)
    head = "MODEL.retrieval_head={name: RetrievalHead, width: 8, similarity_weight: auto}"
    changes = ["-o", "METRIC={name: Plain}", head, "MODEL.top_k=[2, 0]", "epochs=1"]
    assert main.main(["-c", str(path), "--validate", *changes]) == 0
    weights = str(tmp_path / "output" / "Tiny_best.pdparams")
    assert main.main(["--test", "-c", str(path), "-w", weights, *changes]) == 0
    results = json.loads((tmp_path / "output" / "results.json").read_text())
    assert results["seen"] == 7 and results["scores"] == 14 and results["chance"] == {"seen": 0.0}


def test_a_plain_metric_that_lacks_a_method_is_refused_with_the_way_out():
    class Half:
        def update(self, index, predictions):
            pass

    with pytest.raises(ConfigError, match="Half has no state, merge, result. Derive it from"):
        PlainMetric(Half(), MSRVTTMetric())


def test_hooks_of_earlier_frameworks_are_taken_over_or_refused():
    class Old(BaseFramework):
        def adopt(self, results):
            self.kept = results

        def work(self, prepared):
            return 3, "words"

    model = Old()
    model.apply_validation_choice({"a": 1})
    assert model.kept == {"a": 1} and model.has_validation_choice()
    assert model.progress_units(None) == (3, "words")
    with pytest.raises(ConfigError, match="Staged defines first_stage, shortlist, which are no"):
        type("Staged", (BaseFramework,), {"first_stage": None, "shortlist": None})


class MeanFeature(BaseFramework):
    """Scores of captions with a gallery, from a framework that encodes nothing apart."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Linear(1, 1)

    def forward(self, batch):
        return {"loss": (self.scale(paddle.ones([1, 1])) ** 2).mean()}

    def prepare(self, context):
        return np.concatenate([videos["image_feat"].mean(axis=(1, 2)) for videos in context])

    def predict(self, batch, prepared):
        return np.tile(prepared, (len(batch["index"]), 1))


def test_a_framework_may_score_a_gallery_in_its_own_way(tmp_path, monkeypatch):
    monkeypatch.setitem(FRAMEWORKS._parts, "MeanFeature", MeanFeature)
    path = make_project(tmp_path, videos=7)
    recipe = yaml.safe_load(path.read_text())
    recipe |= {"MODEL": {"framework": "MeanFeature"}, "epochs": 1}
    path.write_text(yaml.safe_dump(recipe))
    assert main.main(["-c", str(path), "--validate"]) == 0
    weights = str(tmp_path / "output" / "Tiny_best.pdparams")
    assert main.main(["--test", "-c", str(path), "-w", weights]) == 0
    results = json.loads((tmp_path / "output" / "results.json").read_text())
    assert set(results["stages"]) == {"prepare_seconds", "scoring_seconds", "pairs_scored"}
    assert results["stages"]["pairs_scored"] == 49
    assert results["text_to_video"]["MeanR"] == 4.0, "every caption gets the same order"
    assert (tmp_path / "output" / "queries.jsonl").is_file()


class Wrote(Metric):
    """Writes a file under any name; its results are numbers of NumPy."""

    best = "samples"

    def __init__(self, file: str = "submission.txt") -> None:
        self.file = file

    def result(self, truth):
        return {"samples": np.float32(len(truth)), "counts": np.arange(2)}

    def files(self, dataset, answers, score_matrix):
        return {self.file: lambda path: path.write_text("written")}


def test_a_metrics_files_replace_none_of_the_run(folder, monkeypatch, capsys):
    monkeypatch.setitem(METRICS._parts, "Wrote", Wrote)
    changes = ["METRIC={name: Wrote}", "epochs=1"]
    assert main.main([*PARTS, "--validate", "-o", *changes]) == 0
    output = folder / "output" / "Line"
    test = [*PARTS, "--test", "-w", str(output / "Line_best.pdparams"), "-o", *changes]
    assert main.main(test) == 0
    results = json.loads((output / "results.json").read_text())
    assert results["samples"] == 21 and results["counts"] == [0, 1]
    before = {path.name: path.read_bytes() for path in output.iterdir() if path.is_file()}
    for name in ("../f", "/f", "a/b", "", "..", "results.json", "run.json", "train.jsonl"):
        assert main.main([*test, f"METRIC.file={json.dumps(name)}"]) == 2, name
        message = capsys.readouterr().err
        assert f'Wrote.files gives the name "{name}". Expected the name of a file' in message
    for name in ("Line_best.pdparams", "Line_epoch_00001.json", "log.txt", "other.pdopt"):
        assert main.main([*test, f"METRIC.file={name}"]) == 2, name
    kept = {name for name in before if name not in {"log.txt", "test_config.yaml"}}
    assert all((output / name).read_bytes() == before[name] for name in kept)


def test_hooks_of_a_class_beside_the_framework_count_too():
    class Choosing:
        def adopt(self, results):
            self.kept = results

    class Old(Choosing, BaseFramework):
        pass

    assert Old().has_validation_choice()
    with pytest.raises(ConfigError, match=r"denominators\(batch\) is now loss_counts"):
        type("Exact", (type("Mixin", (), {"denominators": None}), BaseFramework), {})


def test_a_first_validation_without_a_number_is_not_the_best_for_ever(folder, monkeypatch):
    numbers = iter([float("nan"), 3.0, 2.0, 5.0])

    class Given(Metric):
        best = "number"

        def result(self, truth):
            return {"number": 0.0 if len(truth) < 11 else next(numbers)}

    monkeypatch.setitem(METRICS._parts, "Given", Given)
    assert main.main([*PARTS, "--validate", "-o", "METRIC={name: Given}", "epochs=4"]) == 0
    best = json.loads((folder / "output" / "Line" / "Line_best.json").read_text())
    assert best["progress"]["best"] == 5.0


def test_samples_that_lack_an_array_of_the_losses_are_told(folder, monkeypatch, capsys):
    """As those of a data set for tests, trained on without the steps that make labels."""

    class Labelled(BaseFramework):
        def __init__(self, backbone: nn.Layer) -> None:
            super().__init__()
            self.backbone = backbone

        def forward(self, batch, counts=None):
            return {"loss": self.backbone(paddle.to_tensor(batch["x"])).sum()}

        def loss_counts(self, batch):
            return {"a": float((batch["text_labels"] >= 0).sum())}

    monkeypatch.setitem(FRAMEWORKS._parts, "Labelled", Labelled)
    assert main.main([*PARTS, "-o", "MODEL.framework=Labelled", "epochs=1"]) == 2
    message = capsys.readouterr().err
    assert "DATASET.train: its samples have no 'text_labels'" in message
    assert "PIPELINE.train" in message and "in loss_counts" in message and "x" in message


def test_loss_counts_have_the_same_names_for_every_batch(folder, monkeypatch, capsys):
    class Counting(BaseFramework):
        def __init__(self, backbone: nn.Layer, names: str) -> None:
            super().__init__()
            self.backbone, self.names = backbone, iter(names.split())

        def forward(self, batch, counts=None):
            loss = self.backbone(paddle.to_tensor(batch["x"])).sum()
            return {"loss": loss, "a": loss / counts["a"], "b": loss / counts["b"]}

        def loss_counts(self, batch):
            return {name: float(len(batch["x"])) for name in next(self.names)}

    monkeypatch.setitem(FRAMEWORKS._parts, "Counting", Counting)
    changes = ["MODEL.framework=Counting", "epochs=1", "DATASET.train.points=32"]
    changes += ["GRADIENT_ACCUMULATION.global_batch_size=16"]
    assert main.main([*PARTS, "-o", *changes, "MODEL.names='ab ba ab ba'"]) == 0
    for names in ("ab a ab ab", "ab ab ba b", "ab ab abc ab"):
        code = main.main([*PARTS, "-o", *changes, f"MODEL.names='{names}'", "overwrite=true"])
        message = capsys.readouterr().err
        assert code == 2 and "Counting.loss_counts gives [" in message, names
        assert "Expected the same names for every batch" in message
