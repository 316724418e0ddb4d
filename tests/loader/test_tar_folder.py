"""Tar files of other programs: what is wrong is named with the tar file and the member."""

import io
import json
import pickle
import tarfile

import numpy as np
import pytest

from paddlevideo.loader import build_dataset
from paddlevideo.loader.clips.opening import open_clips
from paddlevideo.loader.clips.tar_folder import TarFolder
from paddlevideo.utils.errors import DataError
from tests.loader.clips import assert_same, make_clip

TEXTS = {"size": [240, 320], "captions": ["a caption"]}


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def sample(number=0, **changes):
    clip = make_clip(number)
    members = {
        "json": json.dumps(TEXTS).encode(),
        "regions.npy": npy(clip.regions),
        "boxes.npy": npy(clip.boxes),
        "actions.npy": npy(clip.actions),
        "action_classes.npy": npy(clip.action_classes),
        "region_classes.npy": npy(clip.region_classes.dense()),
    }
    members |= {name.replace("_npy", ".npy"): data for name, data in changes.items()}
    return {name: data for name, data in members.items() if data is not None}


def write_tar(path, samples):
    with tarfile.open(path, "w") as tar:
        for key, members in samples.items():
            for name, data in members.items():
                member = tarfile.TarInfo(f"{key}.{name}" if name else key)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return path


def test_samples_of_several_files_are_one_sequence(tmp_path):
    for number, name in enumerate(("b.tar", "a.tar")):
        write_tar(tmp_path / name, {f"{name}/x": sample(number), f"{name}/y": sample(number + 5)})
    clips = open_clips(tmp_path)
    # The key ends at the first dot of the name after its folder.
    assert isinstance(clips, TarFolder) and clips.ids() == [
        *("a.tar/x", "a.tar/y"),
        *("b.tar/x", "b.tar/y"),
    ]
    assert clips.find("b.tar/x") == 2 and clips.find("x") is None
    assert clips.about(2).captions == ["a caption"]
    first = make_clip(0)
    plain = {"captions": ["a caption"], "times": [], "video": "", "extra": {}, "source": ""}
    read = clips.read(2).with_targets()
    assert_same(read, make_clip(0, "b.tar/x", span=None, **plain), 1e-6)
    np.testing.assert_array_equal(clips.read(2).regions, first.regions)
    assert clips.sizes().region_classes == 9
    assert clips.action_classes() == 1 + max(
        int(make_clip(number).action_classes.max()) for number in (0, 5, 1, 6)
    )


def test_they_can_be_trained_on_directly(tmp_path):
    write_tar(tmp_path / "x.tar", {"one": sample(0), "two": sample(1)})
    dataset = build_dataset({"format": "ActBertDataset", "file_path": str(tmp_path)})
    assert len(dataset) == 2 and dataset.name_of(1) == "two"
    np.testing.assert_array_equal(dataset[1]["region_feat"], make_clip(1).regions)
    assert dataset[1]["captions"] == ["a caption"]


def test_other_members_and_samples_are_left_out(tmp_path):
    others = {"__info__": {"": b"about this file"}, "two": {"mp4": b"..."}}
    write_tar(tmp_path / "x.tar", {"one": sample(0, jpg=b"\xff\xd8\xff"), **others})
    clips = open_clips(tmp_path / "x.tar")
    assert clips.ids() == ["one"]
    assert clips.left_out == [f"{tmp_path / 'x.tar'}: 1 samples without regions.npy left out"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"actions_npy": None}, r"it has no one\.actions\.npy"),
        ({"json": b'{"captions": []}'}, r"one\.json has no size"),
        ({"actions_npy": b"\x93NUMPY\x01\x00"}, r"one\.actions\.npy: "),
        ({"actions_npy": b"no array at all"}, r"one\.actions\.npy: .*magic string"),
        ({"boxes_npy": npy(np.zeros((2, 4)))}, r"one\.boxes\.npy has shape \(2, 4\); .*\(3, 4\)"),
        ({"regions_npy": npy(np.zeros(3))}, r"one\.regions\.npy has shape \(3,\); expected"),
        ({"actions_npy": npy(np.zeros((2, 10)))[:-8]}, r"one\.actions\.npy: 152 bytes"),
        ({"actions_npy": npy(np.array(["a"]))}, r"one\.actions\.npy: holds <U1"),
        ({"actions_npy": npy(np.full((2, 3), np.nan))}, r"actions\[0, 0\] is nan"),
    ],
)
def test_a_wrong_member_is_named_with_the_file(tmp_path, changes, message):
    write_tar(tmp_path / "x.tar", {"one": sample(0, **changes), "two": sample(1)})
    clips = open_clips(tmp_path)
    with pytest.raises(DataError, match=rf"x\.tar: one.*{message}") as caught:
        clips.read(0)
    assert "\n" not in str(caught.value)
    clips.read(1)


@pytest.mark.parametrize("texts", [b"[1]", b"{", b"\xff"])
def test_wrong_texts_are_named_when_the_file_is_opened(tmp_path, texts):
    write_tar(tmp_path / "x.tar", {"one": sample(0, json=texts)})
    with pytest.raises(DataError, match=r"x\.tar: one: .*one\.json"):
        open_clips(tmp_path)


def test_no_code_in_an_array_runs(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    assert pickle.dumps(Bomb())
    data = npy(np.array([[Bomb()]], dtype=object), allow_pickle=True)
    write_tar(tmp_path / "x.tar", {"one": sample(0, actions_npy=data)})
    with pytest.raises(DataError, match=r"one\.actions\.npy: holds object"):
        open_clips(tmp_path).read(0)
    assert not (tmp_path / "exploded").exists()


def test_nothing_is_written_under_the_names_of_members(tmp_path):
    (tmp_path / "inner").mkdir()
    names = {"../escaped": sample(0), f"{tmp_path}/absolute": sample(1)}
    write_tar(tmp_path / "inner" / "x.tar", names)
    clips = open_clips(tmp_path / "inner")
    assert [clips.read(index).id for index in range(2)] == [*names]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["inner", "x.tar"]


def test_a_truncated_file_is_named(tmp_path):
    path = write_tar(tmp_path / "x.tar", {"one": sample(0), "two": sample(1)})
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-1]
    path.write_bytes(whole[: last.offset_data + last.size // 2])
    with pytest.raises(DataError, match=r"x\.tar: cannot be read as a tar file \(unexpected end"):
        open_clips(path)
    path.write_bytes(whole[:300])
    with pytest.raises(DataError, match=r"x\.tar"):
        open_clips(tmp_path)


def test_a_file_without_clips_is_named(tmp_path):
    write_tar(tmp_path / "x.tar", {"one": {"jpg": b"..."}})
    with pytest.raises(DataError, match=r"holds no clips: no sample has a member regions\.npy"):
        open_clips(tmp_path)
