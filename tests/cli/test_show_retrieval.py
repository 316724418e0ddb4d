from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")

from paddlevideo.cli import report  # noqa: E402
from paddlevideo.report import query_picture, thumbnails  # noqa: E402
from paddlevideo.report.clip_pictures import ClipPictures  # noqa: E402
from paddlevideo.report.clip_videos import Shot  # noqa: E402
from tests.report.samples import query  # noqa: E402

GREEN = np.array(query_picture.GREEN)


def write_scores(path: Path, **changes) -> Path:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(6, 8)).astype(np.float32)
    scores[np.arange(3), np.arange(3)] = 9.0  # the first three captions find their clips
    scores[3, 3] = -9.0  # the fourth does not
    arrays = {
        "scores": scores,
        "captions": np.array([f"a caption with number {i}, and more words" for i in range(6)]),
        "video_ids": np.array([f"clip{i}" for i in range(8)]),
        "truth": np.arange(6, dtype=np.int64),
    }
    arrays = {name: value for name, value in {**arrays, **changes}.items() if value is not None}
    np.savez(path, **arrays)
    return path


def write_pictures(folder: Path, count: int = 8) -> None:
    folder.mkdir()
    for index in range(count):
        cv2.imwrite(str(folder / f"clip{index}.png"), np.full((40, 60, 3), 20 * index, np.uint8))


def run(folder: Path, *more: str) -> int:
    arguments = ["--scores", str(folder / "scores.npz"), "--videos", str(folder / "clips")]
    return report.picture([*arguments, "--output", str(folder / "out" / "x.png"), *more])


def test_the_picture_marks_the_right_clip_at_its_place(tmp_path):
    write_pictures(tmp_path / "clips")
    queries, _ = report.read_scores(write_scores(tmp_path / "scores.npz"))
    first, *_, last = sorted(queries, key=lambda query: query.rank)
    assert first.rank == 1 and last.rank > 5
    pictures = ClipPictures(tmp_path / "clips")
    picture = query_picture.draw_queries([first, last], "title", "note", 8, pictures)
    top = query_picture.HEADER + query_picture.GAP
    left = query_picture.TEXT + query_picture.GAP
    assert (picture[top, left + 80] == GREEN).all()  # first row, first place
    step = query_picture.SIDE + query_picture.GAP
    assert not (picture[top, left + step + 80] == GREEN).all()
    second = top + query_picture.SIDE + query_picture.LABEL + 2 * query_picture.GAP
    for place in range(5):  # not among the five
        assert not (picture[second, left + place * step + 80] == GREEN).all()


def test_the_command_writes_a_png(tmp_path, capsys):
    write_scores(tmp_path / "scores.npz")
    write_pictures(tmp_path / "clips")
    assert run(tmp_path, "--rows", "3") == 0
    assert "x.png" in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "out" / "x.png")).shape[1] > 1000


def test_a_damaged_clip_has_a_grey_square(tmp_path, capsys):
    write_scores(tmp_path / "scores.npz")
    write_pictures(tmp_path / "clips", 4)
    (tmp_path / "clips" / "clip0.png").write_bytes(b"damaged")
    assert run(tmp_path) == 0
    errors = capsys.readouterr().err
    assert "1 of 8 clips have no picture: " in errors and "clip0.png" in errors
    assert "4 of 8 clips: no file in" in errors


def test_ranks_count_ties_against_the_right_clip_which_stands_behind_its_equals(tmp_path):
    def queries_of(scores, truth):
        named = {
            "captions": np.array(["a"]),
            "video_ids": np.array(list("vwxyz"))[: len(scores[0])],
        }
        changes = {"scores": np.float32(scores), "truth": np.array(truth), **named}
        return report.read_scores(write_scores(tmp_path / "scores.npz", **changes))

    (query,), videos = queries_of([[1.0, 1.0, 0.0]], [0])
    assert (query.rank, videos) == (2, 3)
    assert [answer.name for answer in query.best] == ["w", "v", "x"]
    assert [answer.right for answer in query.best] == [False, True, False]
    (query,), _ = queries_of([[1.0] * 5], [0])
    assert [answer.name for answer in query.best] == ["w", "x", "y", "z", "v"]


def test_rows_spread_over_the_ranks():
    ranks = np.array([5, 1, 9, 1, 3, 2, 1, 40, 6, 1, 2])
    rows = report.spread([query(int(rank), number=i) for i, rank in enumerate(ranks)], 4)
    shown = [row.rank for row in rows]
    assert len({row.query for row in rows}) == 4
    assert shown == sorted(shown) and 40 not in shown
    assert [row.rank for row in report.spread([query(1), query(2)], 5)] == [1, 2]


def test_a_video_is_shown_by_its_middle_frame(tmp_path):
    from paddlevideo.demo.render import write_video

    frames = np.stack([np.full((64, 48, 3), 20 * i, np.uint8) for i in range(9)])
    write_video(tmp_path / "clip.avi", "MJPG", frames)
    picture = thumbnails.thumbnail(Shot(tmp_path / "clip.avi"), 128)
    assert picture.shape == (128, 128, 3)
    assert abs(int(picture[64, 64, 0]) - 80) <= 3
    assert picture[64, 2, 0] == 230  # a tall clip has bars beside it


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"truth": None}, "score_matrix"),
        ({"truth": np.arange(5)}, "truth has (5,)"),
        ({"captions": np.array(["a"])}, "do not fit"),
        ({"truth": np.full(6, 8)}, "scores for 8 videos"),
        ({"video_ids": np.array([f"other{i}" for i in range(8)])}, "no file"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path, capsys, changes, message):
    write_scores(tmp_path / "scores.npz", **changes)
    write_pictures(tmp_path / "clips")
    assert run(tmp_path) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("size", [0, 9, 500])
def test_a_file_that_was_cut_short_is_explained(tmp_path, capsys, size):
    path = write_scores(tmp_path / "scores.npz")
    path.write_bytes(path.read_bytes()[:size])
    assert report.picture(["--scores", str(path), "--videos", str(tmp_path)]) == 1
    assert "is not a whole .npz" in capsys.readouterr().err


def test_scores_are_finite_numbers(tmp_path, capsys):
    path = write_scores(tmp_path / "scores.npz", scores=np.full((6, 8), np.nan))
    assert report.picture(["--scores", str(path), "--videos", str(tmp_path)]) == 1
    assert "is nan (48 such scores in all)" in capsys.readouterr().err


def test_a_missing_file_is_explained(tmp_path, capsys):
    (tmp_path / "clips").mkdir()
    assert run(tmp_path) == 1
    assert "scores.npz" in capsys.readouterr().err
