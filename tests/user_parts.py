"""What a user may write outside the package: every kind of part, and nothing like ActBERT.

``LargestError`` derives from nothing, as metrics did in earlier versions; ``WordAccuracy`` is a
``Metric``.
"""

from __future__ import annotations

import numpy as np
import paddle
from paddle import nn

from paddlevideo.loader.dataset.base import Dataset
from paddlevideo.metrics import Metric
from paddlevideo.modeling import BaseFramework
from paddlevideo.registry import BACKBONES, DATASETS, FRAMEWORKS, METRICS, PIPELINES


@DATASETS.register()
class Line(Dataset):
    """Points of y = 3 x - 1."""

    def __init__(self, points: int) -> None:
        self.x = np.linspace(-1, 1, points, dtype="float32")

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict:
        return {"x": self.x[index : index + 1], "index": index}

    def name_of(self, index: int) -> str:
        return f"point {index}"

    def truth(self) -> np.ndarray:
        return 3 * self.x - 1


@PIPELINES.register()
class AddTarget:
    """y, with a little noise."""

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise

    def __call__(self, sample: dict, rng: np.random.Generator) -> dict:
        noise = self.noise * rng.standard_normal(1).astype("float32")
        return {**sample, "y": 3 * sample["x"] - 1 + noise}


@BACKBONES.register()
class OneNeuron(nn.Linear):
    """A line with a slope and an offset."""

    def __init__(self) -> None:
        super().__init__(1, 1)


@FRAMEWORKS.register()
class Regression(BaseFramework):
    """Least squares."""

    def __init__(self, backbone: nn.Layer) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, batch):
        error = self.backbone(paddle.to_tensor(batch["x"])) - paddle.to_tensor(batch["y"])
        return {"loss": (error**2).mean()}

    def predict(self, batch, prepared):
        return self.backbone(paddle.to_tensor(batch["x"])).numpy()[:, 0]


@METRICS.register()
class LargestError:
    """The largest absolute difference from the truth."""

    best = "largest_error"
    higher_is_better = False

    def __init__(self) -> None:
        self.rows: dict[int, float] = {}

    def update(self, index, predictions):
        self.rows.update(zip(index.tolist(), predictions.tolist(), strict=True))

    def state(self):
        return self.rows

    def merge(self, states):
        for state in states:
            self.rows.update(state)

    def result(self, truth):
        found = np.array([self.rows[i] for i in range(len(truth))])
        return {"largest_error": float(np.abs(found - truth).max())}


@FRAMEWORKS.register()
class Describer(BaseFramework):
    """Says for every point whether y is positive there: predictions of its own, rows by name."""

    def __init__(self, backbone: nn.Layer) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, batch):
        error = self.backbone(paddle.to_tensor(batch["x"])) - paddle.to_tensor(batch["y"])
        return {"loss": (error**2).mean()}

    def prepare(self, context):
        (words,) = context
        return words["words"].tolist()

    def predict(self, batch, prepared):
        y = self.backbone(paddle.to_tensor(batch["x"])).numpy()[:, 0]
        return {"word": [prepared[int(each > 0)] for each in y], "y": y}


@DATASETS.register()
class WordedLine(Line):
    """The same points, and the words to describe them with."""

    def context(self):
        return [{"words": np.array(["below", "above"])}]

    def default_metric(self):
        return {"name": "WordAccuracy"}


@METRICS.register()
class WordAccuracy(Metric):
    """Percent of right words; writes them as an official script would read them."""

    best = "accuracy"

    def result(self, truth):
        words = self.collected.in_order(None)["word"]
        right = np.where(np.asarray(truth)[: len(words)] > 0, "above", "below")
        return {"accuracy": 100 * float(np.mean(right == np.array(words)))}

    def chance(self, truth):
        return {"accuracy": 50.0}

    def protocol(self):
        return {"words": 2}

    def answers(self, dataset):
        rows = self.collected.in_order(len(dataset))
        return [
            {"point": dataset.name_of(index), "word": word, "y": round(float(y), 3)}
            for index, (word, y) in enumerate(zip(rows["word"], rows["y"], strict=True))
        ]

    def files(self, dataset, answers, score_matrix):
        lines = "".join(f"{answer['point']}\t{answer['word']}\n" for answer in answers)
        submission = {"submission.tsv": lambda path: path.write_text(lines)}
        return {**super().files(dataset, answers, score_matrix), **submission}
