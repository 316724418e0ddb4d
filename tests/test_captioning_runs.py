"""Captioning through main.py: training, resuming, testing, files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml

from paddlevideo.cli import run as main
from paddlevideo.loader.store import Clip, Sizes, StoreWriter
from paddlevideo.safe_pickle import load_state
from tests.tiny_data import ACTION_SIZE, REGION_SIZE, make_project

HEAD = {
    "name": "CaptionHead",
    "streams": ["regions", "actions"],
    "layers": 1,
    "num_attention_heads": 2,
    "words": 12,
    "fitted_words": 6,
    "neighbours": 3,
    "max_length": 15,
    "beam": 2,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Fourteen clips to train on and to describe."""
    folder = tmp_path_factory.mktemp("captions")
    path = make_project(folder, videos=14)
    recipe = yaml.safe_load(path.read_text())
    del recipe["PIPELINE"], recipe["METRIC"], recipe["MODEL"]["loss"]
    recipe["MODEL"] |= {"framework": "ActBertTask", "head": HEAD}
    clips = {**recipe["DATASET"]["test"], "format": "CaptioningDataset"}
    recipe["DATASET"] |= dict.fromkeys(("train", "valid", "test"), clips)
    path.write_text(yaml.safe_dump(recipe))
    return folder


def run(project, output, *flags, changes=()):
    arguments = ["-c", str(project / "tiny.yaml"), *map(str, flags)]
    return main.main([*arguments, "-o", f"output_dir={output}", *changes])


@pytest.fixture(scope="module")
def trained(project):
    output = project / "one"
    assert run(project, output, "--validate") == 0
    return output


@pytest.fixture(scope="module")
def tested(project, trained):
    output = project / "test"
    flags = ("--test", "-w", trained / "Tiny_best.pdparams", "--report", output / "report.html")
    assert run(project, output, *flags) == 0
    return output


def test_a_validation_chooses_by_cider(trained):
    assert "valid epoch:2 BLEU-1" in (trained / "log.txt").read_text()
    assert json.loads((trained / "Tiny_best.json").read_text())


def test_files_of_a_test(tested):
    results = json.loads((tested / "results.json").read_text())
    assert {"BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "exact"} <= results.keys()
    assert {"best constant caption", "captions on wrong clips"} == results["yardsticks"].keys()
    assert results["protocol"]["format"] == "CaptioningDataset"
    assert set(results["files"]) == {"predictions.jsonl", "captions.json"}
    captions = json.loads((tested / "captions.json").read_text())
    assert [each["image_id"] for each in captions] == [f"video{n}" for n in range(14)]
    assert all(each["caption"] for each in captions)
    assert "Captions of clips" in (tested / "report.html").read_text("utf-8")


def test_a_resumed_run_equals_an_uninterrupted_one(project, trained, tmp_path):
    """What the fit computed and the weights do not contain is computed again."""
    assert run(project, tmp_path, "--validate", "--max_iters", "4") == 0
    assert run(project, tmp_path, "--validate", "--resume", "auto") == 0
    whole, resumed = (
        load_state(folder / "Tiny_epoch_00002.pdparams") for folder in (trained, tmp_path)
    )
    assert whole.keys() == resumed.keys() and "head.captions" in whole
    for name, array in whole.items():
        np.testing.assert_array_equal(array, resumed[name], name)


def test_a_test_needs_the_head_and_the_captions(project, trained, tmp_path, capsys):
    state = load_state(trained / "Tiny_best.pdparams")
    without = {name: x for name, x in state.items() if not name.startswith("head.decoder")}
    paddle.save(without, str(tmp_path / "w.pdparams"))
    assert run(project, tmp_path, "--test", "-w", tmp_path / "w.pdparams") != 0
    assert "head.decoder" in capsys.readouterr().err


def test_training_starts_from_weights_without_a_head(project, trained, tmp_path):
    state = load_state(trained / "Tiny_best.pdparams")
    paddle.save(
        {name: x for name, x in state.items() if not name.startswith("head.")},
        str(tmp_path / "w.pdparams"),
    )
    assert run(project, tmp_path / "out", "-w", tmp_path / "w.pdparams") == 0


def test_captions_that_are_too_long_for_the_head(project, tmp_path, capsys):
    assert run(project, tmp_path, changes=["MODEL.head.max_length=4"]) != 0
    assert "MODEL.head.max_length is 4: raise it" in capsys.readouterr().err


def test_a_head_without_known_words_has_no_fitted_ones(project, tmp_path, capsys):
    assert run(project, tmp_path, changes=["MODEL.head.words=0"]) != 0
    assert "fitted_words needs words" in capsys.readouterr().err


# -------------------------------------------------------------------- the recipe at full size


def write_youcook2(folder: Path) -> None:
    """The annotations in their official form, and a store with the segments' features."""
    rng = np.random.default_rng(0)
    database, clips = {}, []
    for video, subset in (("aaa", "training"), ("bbb", "training"), ("ccc", "validation")):
        annotations = []
        for number in range(3):
            sentence = f"{rng.choice(['cut', 'fry', 'stir'])} the {rng.choice(['onion', 'egg'])}"
            start = 10 * number
            annotations.append({"segment": [start, start + 8], "id": number, "sentence": sentence})
            corner = rng.uniform(0, 50, (2, 2)).astype(np.float32)
            clips.append(
                Clip(
                    id=f"{video}_{number:02d}",
                    regions=rng.normal(size=(2, REGION_SIZE)).astype(np.float32),
                    boxes=np.concatenate([corner, corner + 20], axis=1),
                    image_h=100,
                    image_w=100,
                    actions=rng.normal(size=(1, ACTION_SIZE)).astype(np.float32),
                    video=video,
                    span=(start, start + 8.0),
                )
            )
        database[video] = {
            "duration": 40.5, "subset": subset, "recipe_type": "113",
            "annotations": annotations, "video_url": f"https://www.youtube.com/watch?v={video}",
        }  # fmt: skip
    data = folder / "data" / "youcook2"
    data.mkdir(parents=True)
    (data / "youcookii_annotations_trainval.json").write_text(json.dumps({"database": database}))
    with StoreWriter(data / "youcook2.store", Sizes(REGION_SIZE, ACTION_SIZE, 0, 0)) as writer:
        for clip in clips:
            writer.add(clip)
        writer.finish()


#: The recipe's sizes made small.
SMALL = [
    *("epochs=1", "log_interval=1", "num_threads=1", "DATASET.num_workers=0"),
    *("DATASET.test_num_workers=0", "DATASET.batch_size=3", "MODEL.head.num_attention_heads=2"),
    *(
        f"MODEL.backbone.{name}"
        for name in (
            *(f"{stream}hidden_size=16" for stream in ("", "v_", "a_", "bi_")),
            *(f"{stream}intermediate_size=16" for stream in ("", "v_", "a_")),
            *(f"{stream}num_attention_heads=2" for stream in ("", "v_", "a_", "bi_")),
            *("num_hidden_layers=2", "t_ent_attention_id=[0,1]"),
            *(f"v_feature_size={REGION_SIZE}", f"a_feature_size={ACTION_SIZE}"),
        )
    ),
    *(
        f"DATASET.{split}.{key}"
        for split in ("train", "test")
        for key in (f"vision_feature_dim={REGION_SIZE}", f"action_feature_dim={ACTION_SIZE}")
    ),
]


def test_the_recipe_for_youcook2_on_files_of_the_official_form(tmp_path, monkeypatch):
    write_youcook2(tmp_path)
    monkeypatch.chdir(tmp_path)
    recipe, output = ["-c", "actbert_youcook2_caption.yaml"], "output/ActBert_youcook2_caption"
    assert main.main([*recipe, "--dry_run", "-o", *SMALL]) == 0
    assert not Path("output").exists()
    assert main.main([*recipe, "-o", *SMALL]) == 0
    weights = f"{output}/ActBert_youcook2_caption_epoch_00001.pdparams"
    assert main.main(["--test", *recipe, "-w", weights, "-o", *SMALL]) == 0
    results = json.loads(Path(output, "results.json").read_text())
    assert results["protocol"]["samples"] == 3
    subtitles = Path(output, "captions.srt").read_text()
    assert subtitles.startswith("1\n00:00:00,000 --> 00:00:08,000\n")
    assert subtitles.count("-->") == 3
