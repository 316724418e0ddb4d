"""Mutated files of every kind that is read: an answer or one clear error, and no memory bomb.

``FUZZ_ROUNDS=20000 make soak`` goes on for longer, from another seed with ``FUZZ_SEED``.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import paddle
import pytest

from paddlevideo import safe_pickle
from paddlevideo.cli import run as main
from paddlevideo.config import check_config, import_parts, load_config
from paddlevideo.extract.videos import read_videos
from paddlevideo.loader.captions import open_bank, read_captions, read_lines
from paddlevideo.loader.clips.folder import ClipFolder
from paddlevideo.loader.clips.rows import RowFile
from paddlevideo.loader.clips.tar_folder import TarFolder
from paddlevideo.loader.selection import read_list
from paddlevideo.loader.store import FeatureStore
from paddlevideo.loader.store.records import PREFIX, decode, encode
from paddlevideo.loader.store.split import SplitFile
from paddlevideo.loader.store.tar_samples import END, encode_sample
from paddlevideo.loader.store.tar_shards import CHECKSUM, HASH, ID_HIGH, OpenTar
from paddlevideo.prepare import to_tars
from paddlevideo.utils.errors import UserError
from tests.loader.clips import make_clip, write
from tests.tiny_data import make_project, write_training_rows

ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "60"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
#: Bytes that reading a file of some kilobytes may take at once.
MEMORY = 64 << 20
HUGE = [(1 << bits) - 1 for bits in (7, 8, 15, 16, 31, 32, 40, 63, 64)]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """``data`` after one to four changes: bits, lengths, copies, cuts."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not changed:
            break
        place, length = rng.randrange(len(changed)), rng.choice((1, 2, 4, 8, 64))
        kind = rng.randrange(6)
        if kind == 0:
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[place : place + length] = rng.randbytes(length)
        elif kind == 2:
            number = rng.choice(HUGE).to_bytes(8, rng.choice(("little", "big")))
            changed[place : place + 8] = number
        elif kind == 3:
            del changed[place:]
        elif kind == 4:
            del changed[place : place + length]
        else:
            source = rng.randrange(len(changed))
            changed[place:place] = changed[source : source + length]
    return bytes(changed)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """A small real file of each kind."""
    folder = tmp_path_factory.mktemp("samples")
    make_project(folder)
    assert main.main(["-c", str(folder / "tiny.yaml"), "--max_iters", "1"]) == 0
    write_training_rows(folder / "rows.npy", 2)
    state = safe_pickle.load_state(folder / "output" / "Tiny_epoch_00001.pdopt")
    few = {"optimizer": dict(list(state["optimizer"].items())[:6]), "scaler": state["scaler"]}
    paddle.save(few, str(folder / "few.pdopt"))
    paddle.save({"w": paddle.ones([3, 4]), "b": paddle.zeros([4])}, str(folder / "few.pdparams"))
    record = {"video_id": "a", "image_h": 4, "image_w": 5, "features": np.ones((2, 3), "float32")}
    (folder / "record.pickle").write_bytes(pickle.dumps(record, protocol=4))
    (folder / "record.bin").write_bytes(encode(make_clip()))
    to_tars(write(folder / "store", [make_clip()]), folder / "tars")
    for ending in ("tar", "index"):
        path = folder / "tars" / f"shard-00000.{ending}"
        (folder / f"shard.{ending}").write_bytes(path.read_bytes())
    (folder / "store.json").write_bytes((folder / "store" / "store.json").read_bytes())
    (folder / "captions.csv").write_text("a,a man cuts\nb,a dog, running\n")
    (folder / "caption.json").write_text(
        json.dumps({"v": {"start": [0, 1.5], "end": [1, 2], "text": ["one", "zwei ä"]}})
    )
    (folder / "lines.jsonl").write_text('{"clip": "a", "caption": "x", "start": 0, "end": 1}\n')
    (folder / "list.json").write_text('["cut it", "stir! mix"]')
    (folder / "v.csv").write_text("start,end,text\n0.0,2.5,hello\n2.5,3,there\n")
    (folder / "videos.csv").write_text("video,start,end,caption\na.mp4,0,2,hello\n")
    (folder / "a.mp4").write_bytes(b"x")
    (folder / "held_out.txt").write_text("a\nb\n# c\n")
    settings = {"valid": 0.1, "test": "listed", "seed": 0, "by": "video"}
    clips = {"train": ["a", "b ä"], "valid": ["c"], "test": ["d"], "no_captions": []}
    SplitFile(folder / "s.split.json", settings, clips).write(folder / "s")
    arrays = {"regions": np.ones((2, 3)), "boxes": np.ones((2, 4)), "actions": np.ones((1, 2))}
    (folder / "npz").mkdir()
    np.savez_compressed(
        folder / "npz" / "a.npz", image_h=np.int64(9), image_w=np.int64(9), **arrays
    )
    import_parts()
    return folder


def read_rows(path: Path) -> None:
    rows = RowFile(path)
    for index in range(len(rows)):
        rows.read(index)


def read_manifest(path: Path) -> None:
    store = path.parent / "mutated_store"
    store.mkdir(exist_ok=True)
    (store / "store.json").write_bytes(path.read_bytes())
    FeatureStore(store)


def read_samples(path: Path) -> None:
    clips = TarFolder(path)
    for index in range(len(clips)):
        clips.read(index)
    clips.action_classes()


def read_index(path: Path) -> None:
    tar = path.with_suffix(".tar")
    if not tar.exists():
        tar.write_bytes(encode_sample(make_clip(), 0, "float16") + END)
    opened = OpenTar(tar)
    for number in range(len(opened.index)):
        opened.find(HASH.pack(*opened.index[number, ID_HIGH:].tolist()))
        opened.read(*opened.index[number, :CHECKSUM].tolist())


def read_npz(path: Path) -> None:
    folder = path.parent / "mutated_npz"
    folder.mkdir(exist_ok=True)
    (folder / "a.npz").write_bytes(path.read_bytes())
    for item in ClipFolder(folder).items():
        item.read()


def read_with_right_checksum(path: Path) -> None:
    """The checksum made right again: what is behind it must hold by itself."""
    import zlib

    body = path.read_bytes()[PREFIX.size :]
    decode(PREFIX.pack(zlib.crc32(body), 1) + body, "here")


READERS = {
    "few.pdparams": safe_pickle.load_state,
    "few.pdopt": safe_pickle.load_state,
    "rows.npy": read_rows,
    "record.pickle": lambda path: safe_pickle.loads(path.read_bytes(), "here"),
    "record.bin": read_with_right_checksum,
    "store.json": read_manifest,
    "shard.tar": read_samples,
    "shard.index": read_index,
    "s.split.json": SplitFile.read,
    "npz/a.npz": read_npz,
    "tiny.yaml": lambda path: check_config(load_config(str(path)), "train"),
    "captions.csv": lambda path: read_captions(str(path)),
    "caption.json": lambda path: list(read_lines(path)),
    "lines.jsonl": lambda path: list(read_lines(path)),
    "list.json": lambda path: open_bank.__wrapped__(str(path)),
    "v.csv": lambda path: list(read_lines(path)),
    "videos.csv": read_videos,
    "held_out.txt": read_list,
}


@pytest.mark.parametrize("name", READERS)
def test_a_mutated_file_is_read_or_refused(samples, tmp_path, name):
    original = (samples / name).read_bytes()
    (tmp_path / "a.mp4").write_bytes(b"x")
    path = tmp_path / Path(name).name
    path.write_bytes(original)
    READERS[name](path)  # as it was, it is read
    rng = random.Random(f"{SEED} {name}")
    refused = 0
    for number in range(ROUNDS):
        data = mutated(original, rng)
        path.write_bytes(data)
        tracemalloc.start()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                READERS[name](path)
        except UserError as fault:
            refused += 1
            assert str(fault), "an error without a message"
        except Exception as fault:
            raise AssertionError(f"round {number} of {name}: {data[:2000]!r}") from fault
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < MEMORY, f"round {number} of {name} took {peak >> 20} MB: {data[:500]!r}"
    assert refused, "no mutation was noticed: the mutations are too mild"
