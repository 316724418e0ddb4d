from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from paddlevideo import registry
from paddlevideo.config import (
    check,
    check_config,
    import_parts,
    load_config,
    run_settings,
)
from paddlevideo.registry import InputPath
from paddlevideo.utils.errors import ConfigError

ROOT = Path(__file__).parents[2]


class Framework:
    def __init__(self, backbone: Backbone, loss: Loss | None = None, pair_batch: int = 64):
        pass


@dataclass
class Backbone:
    size: int = 3
    depths: Sequence[int] = (1, 2)
    fusion: Literal["mul", "sum"] = "mul"
    pretrained: InputPath | None = None


class Loss:
    def __init__(self, weight: float = 1.0):
        pass


class Dataset:
    def __init__(self, file_path: InputPath, limit: int | None = None):
        pass


class Pad:
    def __init__(self, length: int = 36):
        pass


class Caption:
    def __init__(self, caption_path: InputPath):
        pass


class Metric:
    def __init__(self, **options: Any):
        pass


@dataclass
class Optimizer:
    learning_rate: float | dict
    weight_decay: float | dict | None = None
    beta: float = 0.9

    def __post_init__(self):
        if self.beta > 1:
            raise ConfigError("OPTIMIZER.beta is above 1")
        if self.beta < 0:
            raise ConfigError("that is too small")


@dataclass
class Schedule:
    values: list[float]
    iter_step: bool = False


TEXT = """\
MODEL:
  framework: Framework
  backbone:
    name: Backbone
    size: 4
  loss:
    name: Loss
DATASET:
  batch_size: 2
  train:
    format: Dataset
    file_path: train.npy
  valid: {format: Dataset, file_path: valid.npy}
  test: {format: Dataset, file_path: test.npy}
PIPELINE:
  train:
    transform:
    - Pad:
    - Caption:
        caption_path: captions.json
  valid: {transform: [Pad: {length: 3}]}
  test:
OPTIMIZER:
  name: Optimizer
  learning_rate: {name: Schedule, iter_step: True, values: [1e-4, 1]}
  weight_decay: {name: L2, value: 1e-4}
METRIC: {name: Metric, anything: 3}
GRADIENT_ACCUMULATION: {global_batch_size: 8}
model_name: Some
epochs: 2
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Loads ``TEXT``, after replacements in it, with overrides; its files exist."""
    stand_ins: dict[registry.Registry, list[Any]] = {
        registry.FRAMEWORKS: [Framework],
        registry.BACKBONES: [Backbone],
        registry.LOSSES: [Loss],
        registry.DATASETS: [Dataset],
        registry.PIPELINES: [Pad, Caption],
        registry.METRICS: [Metric],
        registry.OPTIMIZERS: [Optimizer],
        registry.SCHEDULES: [Schedule],
    }
    for each, parts in stand_ins.items():
        monkeypatch.setattr(each, "_parts", {part.__name__: part for part in parts})
    monkeypatch.chdir(tmp_path)
    for name in ("train.npy", "valid.npy", "test.npy", "captions.json"):
        (tmp_path / name).touch()

    def load(*overrides: str, replace: tuple[str, str] = ("", "")):
        assert replace[0] in TEXT
        (tmp_path / "x.yaml").write_text(TEXT.replace(*replace) if replace[0] else TEXT)
        return load_config("x.yaml", overrides)

    return load


def faults(config, mode="train", validate=False) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check_config(config, mode, validate)
    lines = str(caught.value).splitlines()
    return lines if len(lines) == 1 else [line.strip() for line in lines[1:]]


@pytest.mark.parametrize("mode", ["train", "test"])
def test_a_good_configuration_has_no_faults(load, mode):
    assert check_config(load(), mode, validate=mode == "train") == []
    assert check_config(load().to_dict(), mode) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # Names of parts and arguments.
        ("framework: Framework", "framework: Frame", '2: MODEL.framework: unknown framework "Fra'),
        ("framework: Framework", "frame: Framework", "1: MODEL.framework: missing; it names a fr"),
        ("name: Backbone", "name: Bckbone", 'Did you mean "Backbone"'),
        ("name: Backbone", "nam: Backbone", '3: MODEL.backbone.name: missing; it names a'),
        ("name: Backbone", "name: 3", "4: MODEL.backbone.name: expected text"),
        ("    size: 4", "    sizes: 4", '5: MODEL.backbone.sizes: unknown argument "sizes". D'),
        ("    size: 4", "    faiss_from: 4", "5: MODEL.backbone.faiss_from: no longer exists, so"),
        ("    size: 4", "    size: big", "5: MODEL.backbone.size: expected a whole number"),
        ("    size: 4", "    depths: [1, x]", "5: MODEL.backbone.depths.1: expected a whole"),
        ("    size: 4", "    fusion: summ", '5: MODEL.backbone.fusion: expected "mul" or "sum"'),
        ("    size: 4", "    pretrained: no.pdparams", "5: MODEL.backbone.pretrained: there is no"),
        ("    size: 4", "    pretrained: https://host/w.pdparams", "URL: download the file first"),
        ("  loss:\n    name: Loss", "  losses: {}", '6: MODEL.losses: unknown argument "losses"'),
        ("name: Loss", "name: Loss\n    weight: x", "8: MODEL.loss.weight: expected a number"),
        ("    file_path: train", "    path: train", "10: DATASET.train.file_path: missing"),
        ("file_path: train.npy", "file_path: trian.npy", 'Did you mean "train.npy"'),
        ("name: Metric", "name: Metrik", "METRIC.name: unknown metric"),
        # Sections.
        ("MODEL:", "MODLE:", 'x.yaml:1: MODLE: unknown section "MODLE". Did you mean "MODEL"'),
        ("MODEL:", "MODLE:", "x.yaml:1: MODEL: missing; training needs it"),
        ("epochs: 2", "", "x.yaml:1: epochs: missing; training needs it"),
        ("model_name: Some", "", "model_name: missing"),
        ("  train:\n    format", "  tran:\n    format", "8: DATASET.train: missing; training"),
        ("  train:\n    format", "  tran:\n    format", '10: DATASET.tran: unknown argument "tr'),
        ("METRIC: {name: Metric, anything: 3}", "METRIC: Metric", "METRIC: expected a map"),
        ("global_batch_size: 8", "global_batch: 8", "global_batch_size: missing"),
        ("{global_batch_size: 8}", "8", "GRADIENT_ACCUMULATION: expected a map"),
        # Settings.
        ("epochs: 2", "epochs: 0", "epochs: expected 1 or more, got 0"),
        ("epochs: 2", "epoch: 2", 'unknown setting "epoch". Did you mean "epochs"'),
        ("epochs: 2", "epochs: 2\nMIX: {name: Mixup}", "MIX: mixing of samples is not offered"),
        ("epochs: 2", "epochs: 2\namp: {dtype: half}", 'amp.dtype: expected "float16" or "bfl'),
        ("epochs: 2", "epochs: 2\ndevice: cuda", "device: expected auto, cpu, gpu or gpu:1"),
        ("Some", "a/b", 'model_name: "a/b" must be usable as the name of a file'),
        ("batch_size: 2", "batch_size: 0", "9: DATASET.batch_size: expected 1 or more"),
        ("batch_size: 2", "batchsize: 2", 'Did you mean "batch_size"'),
        # Pipelines.
        ("- Pad:\n", "- Pda:\n", '18: PIPELINE.train.transform.0.Pda: unknown pipeline step "Pda"'),
        ("- Pad:\n", "- Mine:\n", "--import my.module loads parts of your own"),
        ("- Pad:\n", "- Pad\n", 'PIPELINE.train.transform.0: expected a map: write "Pad:"'),
        ("- Pad:\n", "- Pad:\n      length: 3\n", "this one has Pad, length: indent"),
        ("- Pad:\n", "- Pad: 3\n", "Pad: expected a map of arguments"),
        ("- Pad:\n", "- {}\n", "transform.0: expected a map with one key"),
        ("        caption_path: captions.json", "", "Caption.caption_path: missing"),
        ("captions.json", "absent.json", "20: PIPELINE.train.transform.1.Caption.caption_path"),
        ("    transform:\n    - Pad:", "    steps:\n    - Pad:", 'steps: unknown key "steps"'),
        ("[Pad: {length: 3}]", "Pad", "PIPELINE.valid.transform: expected a list of steps"),
        ("{transform: [Pad: {length: 3}]}", "[Pad]", "PIPELINE.valid: expected a map"),
        ("  test:\n", "  tests:\n", 'PIPELINE.tests: unknown split "tests". Did you mean "test"'),
        # Optimizer.
        ("name: Optimizer", "name: Adma", 'OPTIMIZER.name: unknown optimizer "Adma"'),
        ("  learning_rate: {name", "  lr: {name", "OPTIMIZER.learning_rate: missing"),
        ("name: Schedule", "name: Schedul", 'Did you mean "Schedule"'),
        ("values: [1e-4, 1]", "values: [1e-4, x]", "OPTIMIZER.learning_rate.values.1: expected"),
        ("  name: Optimizer", "  name: Optimizer\n  beta: 2", "25: OPTIMIZER.beta: is above 1"),
        ("  name: Optimizer", "  name: Optimizer\n  beta: -2", "23: OPTIMIZER: that is too small"),
    ],
)  # fmt: skip
def test_each_fault_names_line_and_key(load, old, new, message):
    config = load(replace=(old, new))
    found = faults(config, validate=True)
    assert any(message in line for line in found), found
    assert all(line.startswith("x.yaml:") for line in found), found


def test_all_faults_come_at_once(load):
    overrides = [
        "MODEL.backbone.size=x", "DATASET.train.file_path=no.npy", "OPTIMIZER.bta=1", "sed=1",
        "PIPELINE.train.transform.0.Pad.len=1", "METRIC=null", "DATASET.test.format=None",
    ]  # fmt: skip
    found = faults(load(*overrides))
    assert len(found) == 6
    assert all(line.startswith("command line: ") for line in found)


def test_files_are_wanted_only_by_what_reads_them(load, tmp_path):
    for name in ("valid.npy", "test.npy"):
        (tmp_path / name).unlink()
    check_config(load(), "train")
    assert "DATASET.valid.file_path" in faults(load(), "train", validate=True)[0]
    assert "DATASET.test.file_path" in faults(load(), "test")[0]
    (tmp_path / "test.npy").touch()
    for name in ("train.npy", "captions.json"):
        (tmp_path / name).unlink()
    check_config(load("MODEL.backbone.pretrained=no.pdparams"), "test")


def test_each_mode_needs_its_own_sections(load):
    bare = load("OPTIMIZER=null", "METRIC=null", "PIPELINE=null", "DATASET.train=null")
    for key in ("epochs", "model_name"):
        del bare[key]
    check_config(bare, "test")
    missing = [line.split(": ")[1] for line in faults(bare, "train")]
    assert sorted(missing) == ["DATASET.train", "OPTIMIZER", "epochs", "model_name"]
    assert (
        "DATASET.valid: missing; --validate" in faults(load("DATASET.valid=null"), "train", True)[0]
    )
    assert "DATASET.test: missing; a test" in faults(load("DATASET.test=null"), "test")[0]
    assert "DATASET: expected a map" in str(faults(load("DATASET=3"), "test"))


def test_settings_of_paddlevideo_that_change_nothing_only_warn(load):
    warnings = check_config(load("use_gpu=True", "INFERENCE={name: x}"))
    assert len(warnings) == 2
    assert warnings[0].startswith("command line: use_gpu: ignored: a GPU is used where")


def test_run_settings(load):
    settings = run_settings(load("amp.level=O2", "max_iters=3", "seed=7"))
    assert settings.output_dir == "output/Some" and settings.epochs == 2
    assert settings.amp.level == "O2" and not settings.amp.enable
    assert (settings.max_iters, settings.seed, settings.log_interval) == (3, 7, 10)
    assert run_settings(load("output_dir=here")).output_dir == "here"
    assert run_settings({"MODEL": {"framework": "F"}}).output_dir == "output/F"
    with pytest.raises(AttributeError):
        settings.epochs = 3


# ----------------------------------------------------------------------------- imports


def test_users_modules_register_parts(load, tmp_path, monkeypatch):
    monkeypatch.setattr(check, "_PART_PACKAGES", ())
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "some_users_parts.py").write_text(
        "from paddlevideo.registry import LOSSES\n@LOSSES.register()\nclass Mine: ...\n"
    )
    (tmp_path / "some_broken_parts.py").write_text("import a_module_that_is_absent\n")
    config = load("MODEL.loss.name=Mine")
    assert 'unknown loss "Mine"' in faults(config)[0]
    import_parts(["some_users_parts"])
    check_config(config)
    with pytest.raises(ConfigError, match='no module "some_users_part"'):
        import_parts(["some_users_part"])
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_absent"):
        import_parts(["some_broken_parts"])


def test_checking_does_not_load_paddle():
    code = (
        "import sys; from paddlevideo.config import check_config, load_config\n"
        "try: check_config(load_config('actbert.yaml'))\n"
        "except ValueError: pass\n"
        "assert 'paddle' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---------------------------------------------------------------------- with real parts


@pytest.fixture
def real_parts():
    import_parts()


@pytest.mark.parametrize(("name", "mode"), [("pretrain", "train"), ("retrieval", "test")])
def test_paddlevideo_users_files_check_unmodified(shared, monkeypatch, real_parts, name, mode):
    monkeypatch.chdir(ROOT)  # the files' paths start there
    config = load_config(shared / "reference/yaml" / f"{name}.yaml")
    assert check_config(config, mode, validate=mode == "train") == []


@pytest.mark.parametrize(("name", "mode"), [("actbert", "train"), ("actbert_msrvtt", "test")])
def test_shipped_files_lack_nothing_but_data(tmp_path, monkeypatch, real_parts, name, mode):
    config = load_config(f"{name}.yaml")
    monkeypatch.chdir(tmp_path)
    assert all(": there is no folder" in line for line in faults(config, mode, mode == "train"))
    for file in ("howto100m/actbert_train_data.npy", "howto100m/actbert_val_data.npy",
                 "howto100m/caption_train.json", "msrvtt/MSRVTT_JSFUSION_test.csv",
                 "msrvtt/msrvtt_test.lmdb/data.mdb"):  # fmt: skip
        path = tmp_path / "data" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert check_config(config, mode, mode == "train") == []


def test_shipped_run_settings_are_the_defaults():
    config = load_config("run.yaml")
    expected = run_settings({"model_name": "x"})
    assert run_settings({**config, "model_name": "x"}) == expected
    documented = {*config} | {"model_name", "epochs"}
    assert documented == {field for field in expected.__dataclass_fields__}
