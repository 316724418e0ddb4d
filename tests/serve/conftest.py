"""A store of seven clips with videos, a model with random weights, and a server of them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from paddlevideo.config import load_config
from paddlevideo.loader.store import FeatureStore, StoreWriter
from paddlevideo.modeling import build_model
from paddlevideo.prepare import PackOptions, pack
from tests.tiny_data import make_project

VIDEOS = 7
#: Folders of the videos, below the folder that is served.
FOLDERS = ("soups", "soups", "soups/red", "dogs", "dogs", "dogs", "dogs")


def write_video(path, codec="VP80", seconds=3):
    """Ten pictures a second, of which each second has another grey."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10, (64, 48))
    assert writer.isOpened(), path
    for frame in range(10 * seconds):
        writer.write(np.full((48, 64, 3), 60 + 50 * (frame // 10), np.uint8))
    writer.release()


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """Files of a server: ``weights``, ``features``, ``videos``, and an ``index`` folder."""
    import paddle

    folder = tmp_path_factory.mktemp("serve")
    recipe_path = make_project(folder, videos=VIDEOS)
    recipe = yaml.safe_load(recipe_path.read_text())
    recipe["MODEL"]["retrieval_head"] = {"name": "RetrievalHead", "width": 8}
    recipe_path.write_text(yaml.safe_dump(recipe))
    paddle.seed(3)
    model = build_model(load_config(str(recipe_path)).MODEL)
    weights = folder / "weights.pdparams"
    paddle.save(model.to_released(model.state_dict()), str(weights))
    videos = folder / "videos"
    pack(PackOptions([folder / "test.lmdb"], folder / "plain", [folder / "test.csv"]))
    plain = FeatureStore(folder / "plain")
    with StoreWriter(folder / "clips.store", plain.manifest.sizes, "float32") as writer:
        for number, below in enumerate(FOLDERS):
            # One that browsers do not play, and one whose container has a codec that they do not.
            name, codec = f"film {number}.webm", "VP80"
            if number == 5:
                name, codec = "film 5.avi", "MJPG"
            elif number == 6:
                name, codec = "film 6.mp4", "mp4v"
            write_video(videos / below / name, codec)
            source, span = str(videos / below / name), (1.0, 2.0)
            writer.add(replace(plain[number], source=source, span=span))
        writer.finish()
    return SimpleNamespace(
        folder=folder,
        recipe=recipe_path,
        weights=weights,
        features=folder / "clips.store",
        videos=videos,
        index=folder / "index",
    )


def words(project, *more):
    """The command line of a server."""
    pairs = {
        "-w": project.weights,
        "-c": project.recipe,
        "--features": project.features,
        "--videos": project.videos,
        "--index": project.index,
    }
    return [*(str(word) for pair in pairs.items() for word in pair), *more]


@pytest.fixture(scope="session")
def serving(project):
    """Starts the parts of a server in this process, and returns a client of each."""
    from starlette.testclient import TestClient

    from paddlevideo.cli.search import configure
    from paddlevideo.cli.serve import make_engine, parse_arguments
    from paddlevideo.serve.app import Site, create_app
    from paddlevideo.serve.clips import Clips
    from paddlevideo.serve.guard import Access

    sites = []

    def start(*more, access=None, wait=True):
        options = parse_arguments(words(project, "--candidates", "4", *more))
        config = configure(options)
        clips = Clips(options.features, options.videos)
        engine = make_engine(options, config, clips)
        site = Site(engine, clips, options.candidates)
        sites.append(site)
        engine.start()
        while wait and not engine.is_ready:
            assert engine.error is None, engine.error
            engine._thread.join(0.02)
        app = create_app(site, access or Access(frozenset({"localhost"})))
        client = TestClient(app, base_url="http://localhost:8000", follow_redirects=False)
        client.site = site
        return client

    yield start
    for site in sites:
        site.engine.close()
        site.close()


@pytest.fixture(scope="session")
def client(serving):
    """A client of a server that is ready."""
    return serving()
