from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from paddlevideo.report import RankedAnswer, Section, write_report
from paddlevideo.report.page import choose
from paddlevideo.report.pages import TEMPLATES
from paddlevideo.utils.errors import DataError
from tests.report.samples import both, metrics, query, results_of, some_queries

NASTY = '<script>alert("x")</script> \'"><img src=x onerror=alert(1)> &amp;'


class Reader(HTMLParser):
    """Tags with their attributes, the text of the body, and whether every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.texts = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    def with_class(self, name):
        return [row for row in self.tags if name in (row[1].get("class") or "").split()]

    @property
    def text(self):
        return " ".join(self.texts)


def make(path, queries=None, results=None, **more):
    queries = some_queries() if queries is None else queries
    write_report(path, results_of(queries) if results is None else results, queries, **more)
    return path.read_text("utf-8")


@pytest.fixture
def page(tmp_path):
    return tmp_path / "new" / "report.html"


def write_clips(folder, count):
    cv2 = pytest.importorskip("cv2")
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        blurred = cv2.resize(rng.integers(0, 255, (12, 16, 3)).astype(np.uint8), (320, 240))
        cv2.imwrite(str(folder / f"clip{number}.jpg"), blurred)
    return folder


def test_everything_has_its_place(page):
    results = {
        **results_of(some_queries()),
        "first_stage": {"text_to_video": {**metrics(20, 30, 40, 12, 15.5), "R@16": 77.0}},
        "match_alone": both(21, 31, 41, 12, 15.5),
        "dual_softmax": both(22, 32, 42, 1234, 15.5),
        "stages": {"pairs_scored": 500, "scoring_seconds": 8.26},
        "similarity_weight": 0.25,
        "protocol": {
            "captions": 40,
            "videos": 40,
            "weights": "a/b.pdparams",
            "ties": "counted against",
        },
    }
    reader = Reader(make(page, results=results))
    text = reader.text
    for words in (
        *("among 40 videos", "first stage alone", "R@16", "77.0", "1,234"),
        *("dual softmax (uses the other queries)", "match margin alone", "counted against"),
        *("500 of 1,600 pairs scored (31.2 %); scoring 8.3 s", "a/b.pdparams"),
    ):
        assert words in text
    order = ["Results", "Ranks", "Hardest queries", "A sample of queries", "Protocol"]
    places = [reader.texts.index(title) for title in order]
    assert places == sorted(places)
    assert len(reader.with_class("whole")) == 2
    assert len(reader.with_class("part")) == 5
    chances = 2 * 5 + 5 * 5  # beside every number whose chance is known
    assert len([row for row in reader.with_class("chance") if row[0] == "span"]) == chances


def test_a_task_can_add_sections_of_its_own(page):
    rows = {"caption": "Scores of captions", "rows": [("CIDEr", "1.02"), (NASTY, NASTY)]}
    section = Section("Captions", "entries", rows, "Higher is better.")
    reader = Reader(make(page, [], {"CIDEr": 1.02, "loss": 0.123456}, sections=[section]))
    for words in ("Captions", "Higher is better.", "Scores of captions", "1.02", "0.1235"):
        assert words in reader.texts
    assert reader.texts.count(NASTY) == 2 and "Results" not in reader.texts


@pytest.mark.parametrize(
    "results",
    [
        {},
        {"text_to_video": {}, "chance": None, "protocol": [], "stages": 3, "first_stage": {}},
        {
            "text_to_video": {"R@1": "high", "MedianR": None},
            "chance": {"text_to_video": {"R@1": 0}},
        },
        {
            **both(1, 2, 3, 4, 5),
            "extra": {"a": 1},
            "stages": {"pairs_scored": 4},
            "protocol": {"captions": 0},
        },
        {**both(1, 2, 3, 4, float("nan")), "chance": {"video_to_text": {"R@1": 3.0}}},
    ],
)
@pytest.mark.parametrize(
    "queries", [[], [query(3)], [query(1, "video_to_text", best=[], right=[])]]
)
def test_parts_may_be_absent(page, results, queries):
    text = Reader(make(page, queries, results)).text
    assert "nan" not in text


def test_texts_are_escaped(page):
    answers = [RankedAnswer(NASTY, 1.0, True)]
    queries = [
        query(1, query=NASTY, best=answers, right=[NASTY]),
        query(1, "video_to_text", query=NASTY, best=answers, right=[NASTY]),
    ]
    results = {**results_of(queries), "protocol": {NASTY: NASTY, "nested": [NASTY]}}
    text = make(page, queries, results)
    assert "<script" not in text and "<img" not in text
    reader = Reader(text)
    assert reader.texts.count(NASTY) >= 5
    assert not [name for _, attributes in reader.tags for name in attributes if name[:2] == "on"]


def test_very_long_texts_are_cut(page):
    long = "x" * 100_000
    answers = [RankedAnswer(long, 1.0, True)]
    queries = [
        query(1, way, query=long, right=[long], best=answers)
        for way in ("text_to_video", "video_to_text")
    ]
    assert len(make(page, queries)) < 50_000


def test_half_a_character_does_not_stop_the_page(page):
    assert "caption ?" in make(page, [query(1, query="caption \ud83d")])


def test_nothing_comes_from_elsewhere(page, tmp_path):
    text = make(page, videos=write_clips(tmp_path / "clips", 20))
    assert not re.search(r"https?:|//|@import", text.replace("base64,//", "").split("<body>")[1])
    targets = re.findall(r"url\(([^)]{6})", text)
    assert targets and set(targets) == {'"data:'}
    tags = Reader(text).tags
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in tags}
    assert not [row for row in tags if {"src", "href", "style"} & row[1].keys()]
    policy = next(row[1]["content"] for row in tags if "http-equiv" in row[1])
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_each_picture_is_held_once_and_an_absent_clip_has_a_tile(page, tmp_path):
    text = make(page, videos=write_clips(tmp_path / "clips", 20))
    pictures = re.findall(r"data:image/jpeg;base64,([^\"]+)", text)
    assert 10 < len(pictures) == len(set(pictures)) <= 20
    reader = Reader(text)
    shown = [row for row in reader.with_class("picture") if "role" in row[1]]
    assert len(shown) > len(pictures)
    assert all(row[1]["aria-label"].startswith("middle frame of clip") for row in shown)
    assert reader.with_class("absent")


@pytest.mark.parametrize(
    "name",
    ["../clip0", "/clip0", "n" * 5000, "a\0b", ".."],
    ids=["above", "root", "long", "null", "parent"],
)
def test_a_name_that_no_clip_can_have_gets_a_tile(page, tmp_path, name):
    folder = write_clips(tmp_path / "clips", 1)
    (folder / "inner").mkdir()
    queries = [query(1, best=[RankedAnswer(name, 1.0, True)], right=[name])]
    assert Reader(make(page, queries, videos=folder / "inner")).with_class("absent")


def test_a_missing_folder_is_explained(page, tmp_path):
    with pytest.raises(DataError, match="no such folder of videos"):
        make(page, videos=tmp_path / "absent")
    assert not page.exists()


@pytest.mark.parametrize(
    "content", [b"", b"not a video", bytes(60)], ids=["empty", "text", "zeros"]
)
def test_damaged_videos_cost_their_pictures_and_not_the_page(page, tmp_path, content):
    folder = write_clips(tmp_path / "clips", 3)
    (folder / "clip1.mp4").write_bytes(content)  # comes before clip1.jpg
    (folder / "clip2.jpg").write_bytes(content)
    queries = [query(1, number=number) for number in range(3)]
    lines = write_report(page, results_of(queries), queries, folder)
    assert lines[0].startswith("2 of 8 clips have no picture: ") and "clip1.mp4" in lines[0]
    assert lines[1].startswith("5 of 8 clips: no file in ")
    reader = Reader(page.read_text("utf-8"))
    assert all(line in reader.text for line in lines)
    assert "data:image/jpeg" in page.read_text("utf-8")  # of the third


def test_the_page_of_1000_queries_stays_small(page, tmp_path):
    queries = some_queries(1000)
    assert len(make(page, queries)) < 250_000
    folder = write_clips(tmp_path / "clips", 1000)
    assert len(make(page, queries, videos=folder)) < 2_000_000


def test_the_right_answer_is_marked_and_follows_where_it_is_not_among_the_best(page):
    for rank, count in ((2, 5), (7, 6), (80, 6)):
        reader = Reader(make(page, [query(rank)]))
        tiles = reader.with_class("tile")
        assert len(tiles) == count
        right = [number for number, row in enumerate(tiles, 1) if "right" in row[1]["class"]]
        assert right == [min(rank, 6)]
        assert reader.texts.count("✓ correct") == 1
        assert f"{rank}. " in reader.texts


def test_of_several_right_answers_beyond_the_best_none_gets_the_place(page):
    reader = Reader(make(page, [query(80, "video_to_text", right=["one", "two"])]))
    assert reader.texts.count("✓ correct") == 1
    assert "80. " not in reader.texts and "(best of 2)" in reader.text


def test_scores_have_two_decimals(page):
    reader = Reader(make(page, [query(1, best=[RankedAnswer("clip0", 1.23456, True)])]))
    assert "1.23" in reader.texts


def test_the_choice_of_queries_depends_on_ranks_alone():
    ranks = [5, 1, 9, 1, 3, 2, 1, 40, 6, 1, 2, 30]
    hardest, spread = choose([query(rank, number=i) for i, rank in enumerate(ranks)], 8)
    assert [each.rank for each in hardest] == [40, 30, 9, 6]
    found = [each.rank for each in spread]
    assert found == sorted(found) and (found[0], found[-1]) == (1, 5)
    assert len({each.query for each in [*hardest, *spread]}) == 8


@pytest.mark.parametrize("shown", [0, 1, 2, 5, 100])
def test_no_query_is_shown_twice(page, shown):
    reader = Reader(make(page, [query(rank, number=rank) for rank in range(1, 6)], shown=shown))
    assert len(reader.with_class("card")) == min(shown, 5)


def test_headings_and_headers_are_for_everybody(page):
    reader = Reader(make(page))
    names = [tag for tag, _ in reader.tags]
    assert names.count("h1") == names.count("main") == 1
    levels = [int(tag[1]) for tag in names if re.fullmatch(r"h\d", tag)]
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    headers = [row for row in reader.tags if row[0] == "th"]
    assert headers and all(row[1].get("scope") in {"row", "col"} for row in headers)
    charts = [row[1] for row in reader.tags if row[0] == "svg"]
    identities = [row[1]["id"] for row in reader.tags if "id" in row[1]]
    assert len(charts) == 3 and len(set(identities)) == len(identities) == 6
    assert all(set(chart["aria-labelledby"].split()) < set(identities) for chart in charts)


@pytest.mark.parametrize("mode", [0, 1])
def test_text_stands_out_from_its_ground(mode):
    style = (TEMPLATES / "style.css").read_text("utf-8")
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[mode]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", block))

    def lightness(name):
        parts = np.array([int(colours[name][i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    pairs = [("ink", "page"), ("ink", "card"), ("dim", "page"), ("dim", "card"), ("dim", "tile")]
    pairs += [("right", "card"), ("right", "right-soft"), ("dim", "right-soft")]
    pairs += [("forward", "card"), ("backward", "card")]
    for pair in pairs:
        dark, light = sorted(map(lightness, pair))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, pair
