"""Every shipped recipe: valid as it is, and, at tiny sizes, a training step or a test."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import paddle
import pytest

from paddlevideo.cli.ablate import read_variants
from paddlevideo.config import Config, check_config, import_parts, load_config, run_settings
from paddlevideo.config.arguments import schema_of
from paddlevideo.loader import build_pipeline
from paddlevideo.loader.build import BatchLoader, SampleReader
from paddlevideo.loader.dataset.captioning import CaptionTruth
from paddlevideo.loader.questions.question import Choice, Question
from paddlevideo.loader.sampler import GridSampler
from paddlevideo.metrics import EvaluationData
from paddlevideo.modeling import build_model
from paddlevideo.modeling.framework.batches import CAPTION_KEYS, INPUT_KEYS
from paddlevideo.registry import DATASETS, METRICS, PIPELINES, InputPath
from paddlevideo.runtime.precision import LossScaler
from paddlevideo.solver import build_optimizer, build_schedule
from paddlevideo.solver.updater import Updater

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "configs").rglob("*.yaml"))
#: configs/extract/ is for tools/extract_features.py: tests/extract/test_settings.py checks it.
OTHERS = {"_base_", "extract"}
RECIPES = [path for path in FILES if not OTHERS & set(path.relative_to(ROOT).parts)]
WIDTH, INNER, HEADS, FEATURES, CLASSES, WORDS, CLIPS = 16, 32, 2, 12, 9, 50, 3


@pytest.fixture(scope="module", autouse=True)
def parts():
    import_parts()


@pytest.fixture(params=RECIPES, ids=[path.stem for path in RECIPES])
def recipe(request, tmp_path, monkeypatch):
    """A recipe, in a folder where every input file that it names exists."""
    home = tmp_path / "clone"  # one below, because a recipe may name ../shared
    home.mkdir()
    monkeypatch.chdir(home)
    config = load_config(request.param)
    for name in input_files(config):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    return config


def input_files(config: Config) -> Iterator[str]:
    """Every path that an argument of a part names, but for files that ship."""
    named = [(DATASETS.get(split["format"]), split) for split in splits(config).values()]
    for step in steps(config):
        ((name, arguments),) = step.items()
        named.append((PIPELINES.get(name), arguments or {}))
    if metric := config.get("METRIC"):
        named.append((METRICS.get(metric["name"]), metric))
    for part, arguments in named:
        for name, hint in schema_of(part).hints.items():
            if hint == InputPath or InputPath in get_args(hint):
                yield from filter(is_users, [arguments.get(name)])
    yield from filter(None, [config.MODEL.backbone.get("pretrained"), config.get("data")])


def is_users(path: str | None) -> bool:
    return bool(path) and not Path(path).is_absolute()


def splits(config: Config) -> dict[str, Config]:
    names = ("train", "valid", "test")
    return {name: config.DATASET[name] for name in names if config.DATASET.get(name)}


def steps(config: Config) -> Iterator[dict[str, Any]]:
    for pipeline in (config.get("PIPELINE") or {}).values():
        yield from (pipeline or {}).get("transform") or []


#: The files of variants in tools/ablations/ that docs/results.md uses with each recipe.
ABLATIONS = {
    "actbert_demo": ("demo", "stages"),
    "actbert_youcook2_mini": ("youcook2_mini", "stages"),
}


@pytest.mark.parametrize(
    "recipe", [p for p in RECIPES if p.stem in ABLATIONS], indirect=True, ids=lambda p: p.stem
)
def test_every_variant_of_an_ablation_is_valid(recipe, request):
    path = request.node.callspec.params["recipe"]
    for name in ABLATIONS[path.stem]:
        for variant in read_variants(ROOT / "tools" / "ablations" / f"{name}.yaml"):
            config = load_config(path, [*variant.train, *variant.test])
            assert check_config(config) == [], variant.name
            build_model(shrunk(config))


# ------------------------------------------------------------------------- tiny sizes


def shrunk(config: Config) -> dict[str, Any]:
    """Returns MODEL with the same layout and small sizes."""
    backbone = config.MODEL.backbone.to_dict()
    parameters = inspect.signature(backbone_class(config)).parameters.values()
    for parameter in parameters:
        size = tiny_size(parameter.name)
        if size is not None:
            backbone[parameter.name] = size
    backbone |= tiny_depths(backbone, parameters)
    model = {**config.MODEL.to_dict(), "backbone": {**backbone, "pretrained": None}}
    if "components" in model.get("head", {}):
        model["head"] |= {"components": 2}  # there are only a few features
    return model


def backbone_class(config: Config) -> Any:
    from paddlevideo.registry import BACKBONES

    return BACKBONES.get(config.MODEL.backbone.name)


def tiny_size(name: str) -> int | None:
    """The small value of a size called ``name``; None if it is not a size."""
    endings = {
        "intermediate_size": INNER,
        "hidden_size": WIDTH,
        "feature_size": FEATURES,
        "target_size": CLASSES,
        "vocab_size": WORDS,
        "attention_heads": HEADS,
        "max_position_embeddings": 64,
    }
    return next((size for ending, size in endings.items() if name.endswith(ending)), None)


def tiny_depths(backbone: dict[str, Any], parameters: Any) -> dict[str, Any]:
    """As many tangled layers as the recipe has, one after another, and one more layer on top."""
    defaults = {parameter.name: parameter.default for parameter in parameters}
    changed = {}
    for short, long in (("t", ""), ("v", "v_"), ("a", "a_")):
        key = f"{short}_ent_attention_id"
        tangled = len(backbone.get(key, defaults[key]))
        changed |= {key: list(range(tangled)), f"{long}num_hidden_layers": tangled + 1}
        frozen = f"fixed_{short}_layer"
        if backbone.get(frozen):
            changed |= {frozen: 0}  # the first layer is tangled now
    return changed


def synthetic(words: int = 10, regions: int = 6, actions: int = 3) -> dict[str, np.ndarray]:
    """A batch of the keys that a pre-training pipeline makes; the retrieval keys are among them."""
    rng = np.random.default_rng(0)
    labels = np.full((CLIPS, words), -1)
    labels[:, 2] = 7
    image_label, action_label = np.full((CLIPS, regions), -1), np.full((CLIPS, actions), -1)
    image_label[:, 1], action_label[:, 0] = 1, 4
    return {
        "text_ids": rng.integers(1, WORDS, (CLIPS, words)),
        "token_type_ids": np.zeros((CLIPS, words), np.int64),
        "text_mask": np.ones((CLIPS, words), np.int64),
        "text_labels": labels,
        "image_feat": normal(rng, regions + 1, FEATURES),
        "image_loc": rng.random((CLIPS, regions + 1, 5)).astype(np.float32),
        "image_mask": np.ones((CLIPS, regions + 1), np.int64),
        "image_label": image_label,
        "image_target": rng.dirichlet(np.ones(CLASSES), (CLIPS, regions)).astype(np.float32),
        "action_feat": normal(rng, actions, FEATURES),
        "action_mask": np.ones((CLIPS, actions), np.int64),
        "action_label": action_label,
        "next_sentence_label": np.array([0, 1, 0]),
        "index": np.arange(CLIPS),
        "blank": np.array([1, 2, 3]),
        "answer": ["red", "green", "another"],
        "target_ids": rng.integers(1, WORDS, (CLIPS, words)),
    }


class Answers:
    """What a head takes from the training data."""

    def answers(self):
        return ["red", "green", "red"]

    def pieces(self, text):
        return [len(text)]


def normal(rng: np.random.Generator, rows: int, width: int) -> np.ndarray:
    return rng.normal(size=(CLIPS, rows, width)).astype(np.float32)


# ------------------------------------------------------------------------------ tests


def test_there_are_recipes():
    assert {"actbert", "actbert_msrvtt"} <= {path.stem for path in RECIPES}
    assert len({path.name for path in FILES}) == len(FILES), "-c NAME must be unambiguous"


def test_a_recipe_is_valid_as_it_is(recipe):
    """Names, types and files, in every mode that its sections allow."""
    modes = [("train", False)] * bool(recipe.get("OPTIMIZER") and recipe.DATASET.get("train"))
    modes += [("train", True)] * bool(modes and recipe.DATASET.get("valid"))
    modes += [("test", False)] * bool(recipe.DATASET.get("test"))
    assert modes
    for mode, validate in modes:
        assert check_config(recipe, mode, validate) == []


def test_a_recipe_agrees_with_itself(recipe):
    """Widths and lengths are named in several sections: they must be the same."""
    model = {
        name: recipe.MODEL.backbone.get(name, parameter.default)
        for name, parameter in inspect.signature(backbone_class(recipe)).parameters.items()
    }
    for split in splits(recipe).values():
        keys = schema_of(DATASETS.get(split["format"])).hints
        if "vision_feature_dim" in keys:
            assert split.get("vision_feature_dim", 2048) == model["v_feature_size"]
            assert split.get("action_feature_dim", 2048) == model["a_feature_size"]
        if "max_seq_length" in keys:
            assert split.get("max_seq_length", 36) <= model["max_position_embeddings"]
        if split["format"] == "CaptioningDataset":
            assert split.get("max_seq_length", 36) <= recipe.MODEL.head.get("max_length", 36) + 1
    for step in steps(recipe):
        if "Tokenize" in step:
            length = (step["Tokenize"] or {}).get("max_seq_length", 36)
            assert length <= model["max_position_embeddings"]


def test_a_recipe_trains_or_scores_at_tiny_sizes(recipe):
    others = {"MSTCNDataset", "COINDataset", "CrossTaskDataset"}
    if {split["format"] for split in splits(recipe).values()} & others:
        pytest.skip("it needs videos: tests/timelines/test_recipes.py trains it on small ones")
    paddle.seed(0)
    model = build_model(shrunk(recipe))
    batch = synthetic()
    model.set_up_from(Answers())
    did = []
    if recipe.get("OPTIMIZER"):
        train_one_step(recipe, model, batch)
        did.append("train")
    if recipe.DATASET.get("test"):
        score(recipe, model, batch)
        did.append("test")
    assert did


def train_one_step(recipe, model, batch):
    settings = run_settings(recipe)
    schedule = build_schedule(recipe.OPTIMIZER["learning_rate"], 10, 10 * settings.epochs)
    optimizer = build_optimizer(recipe.OPTIMIZER, schedule, model)
    before = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    updater = Updater(optimizer, schedule, LossScaler(False, 1.0))
    losses = model(batch)
    assert model.loss_counts(batch).keys() | {"loss"} == losses.keys()
    if recipe.MODEL.framework == "ActBert":
        alone = (recipe.MODEL.get("retrieval_head") or {}).get("alone")
        four = {"text_loss", "region_loss", "action_loss", "match_loss"}
        assert ({"retrieval_loss"} if alone else four) < losses.keys()
    assert np.isfinite(float(losses["loss"]))
    assert updater.learning_rate > 0
    updater.backward(losses["loss"])
    updater.step()
    after = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    assert any(not np.array_equal(before[name], after[name]) for name in after)
    unset = "retrieval_head.chosen_weight"  # until a validation chooses it
    assert all(np.isfinite(array).all() for name, array in after.items() if name != unset)


def score(recipe, model, batch):
    model.eval()
    metric = METRICS.build(recipe.get("METRIC") or {"name": "MSRVTTMetric"})
    if metric.name == "CaptionMetric":
        return score_captions(metric, model, batch)
    if metric.name != "MSRVTTMetric":
        return score_questions(metric, model, batch)
    samples = [{key: rows[index] for key, rows in batch.items()} for index in range(CLIPS)]
    loader = BatchLoader(SampleReader(samples), GridSampler(CLIPS, CLIPS))
    data = EvaluationData([batch], loader, lambda state: [state], metric.start, validating=True)
    predictor = metric.predictor(model, data)
    (captions,) = predictor.batches(loader)
    rows = predictor.predict(captions)
    assert rows.shape == (CLIPS, CLIPS) and np.isfinite(rows).all()
    metric.update(batch["index"], rows)
    results = metric.result(np.arange(CLIPS))
    assert {"text_to_video", "video_to_text"} <= set(results)


def score_questions(metric, model, batch):
    """The predictions of three questions, with candidates or with answers in words."""
    if metric.name == "ChoiceMetric":
        texts = {key: np.stack([batch[key]] * 2, axis=1) for key in CAPTION_KEYS}
        batch = {**batch, **texts}
        truth = [Choice(str(n), "a clip", "", ("one", "two"), n % 2) for n in range(CLIPS)]
    else:
        truth = [Question(str(n), "a clip", "a _____", "red", "color") for n in range(CLIPS)]
    keys = ("index", "answer", "blank", *INPUT_KEYS)
    samples = Samples([{key: batch[key][index] for key in keys} for index in range(CLIPS)])
    loader = BatchLoader(SampleReader(samples), GridSampler(CLIPS, CLIPS))
    predictor = metric.predictor(model, EvaluationData(None, loader, lambda x: [x], metric.start))
    for questions in predictor.batches(loader):
        metric.update(questions["index"], predictor.predict(questions))
    results = {**metric.result(truth), **metric.yardsticks(truth)}
    assert 0 <= results["accuracy"] <= 100 and results["questions"] == CLIPS


class Samples(list):
    """A data set of questions that are all about one video."""

    def wrong_partners(self):
        return np.arange(len(self))


def score_captions(metric, model, batch):
    """Captions of three clips, in words of the small vocabulary."""
    metric.update(batch["index"], model.predict(batch, None))
    results = metric.result(CaptionTruth([["a caption"]] * CLIPS, "bert-base-uncased"))
    assert 0 <= results["CIDEr"] <= 10


def test_pipelines_build_from_a_recipe(recipe):
    for name in input_files(recipe):
        Path(name).write_text('["a caption"]')
    for pipeline in (recipe.get("PIPELINE") or {}).values():
        build_pipeline((pipeline or {}).get("transform"))
