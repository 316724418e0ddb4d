"""Which files ``paddlevideo serve`` sends, in which parts, and to whom."""

from __future__ import annotations

import os
from dataclasses import replace
from urllib.parse import quote

import pytest

from paddlevideo.loader.store import FeatureStore, StoreWriter
from paddlevideo.serve.byte_ranges import Unsatisfiable, parse_range
from paddlevideo.serve.clips import Clips
from paddlevideo.serve.guard import COOKIE, Access

VIDEO = "/api/clips/video?id=video0"


@pytest.fixture(scope="module")
def content(project):
    return (project.videos / "soups" / "film 0.webm").read_bytes()


# ------------------------------------------------------------------------ byte ranges


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-", (0, 100)),
        ("bytes=5-9", (5, 10)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=-1", (99, 100)),
        ("bytes=-1000", (0, 100)),
        (" Bytes = 5 - 9 ", (5, 10)),
        ("bytes=99-99", (99, 100)),
        # Everything is sent for what is not understood, and for several parts.
        ("bytes=9-5", None),
        ("bytes=-", None),
        ("bytes=1-2,5-6", None),
        ("bytes=a-b", None),
        ("bytes=1.5-2", None),
        ("bytes=--5", None),
        ("pages=1-2", None),
        ("", None),
        ("bytes=\u0663-\u0664", None),
        (f"bytes={'9' * 5000}-", None),
    ],
)
def test_a_range_is_one_part_of_the_file(text, part):
    assert parse_range(text, 100) == part


@pytest.mark.parametrize(("text", "size"), [("bytes=100-", 100), ("bytes=-0", 9), ("bytes=0-", 0)])
def test_a_range_that_the_file_does_not_have(text, size):
    with pytest.raises(Unsatisfiable):
        parse_range(text, size)


def test_all_of_a_video_is_sent(client, content):
    answer = client.get(VIDEO)
    assert answer.status_code == 200 and answer.content == content
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["content-type"] == "video/webm"


@pytest.mark.parametrize("text", ["bytes=0-9", "bytes=10-", "bytes=-7"])
def test_a_part_of_a_video_is_sent(client, content, text):
    start, stop = parse_range(text, len(content))
    answer = client.get(VIDEO, headers={"range": text})
    assert answer.status_code == 206 and answer.content == content[start:stop]
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(content)}"
    assert answer.headers["content-length"] == str(stop - start)


def test_a_part_behind_the_end_is_refused(client, content):
    answer = client.get(VIDEO, headers={"range": f"bytes={len(content)}-"})
    assert answer.status_code == 416 and answer.content == b""
    assert answer.headers["content-range"] == f"bytes */{len(content)}"


def test_head_is_get_without_content(client, content):
    for headers, status in (({}, 200), ({"range": "bytes=2-5"}, 206)):
        full, head = client.get(VIDEO, headers=headers), client.head(VIDEO, headers=headers)
        assert head.status_code == status and head.content == b""
        assert head.headers == full.headers
    for address in ("/", "/?text=a+dog", "/api/health", "/static/page.js", "/none"):
        full, head = client.get(address), client.head(address)
        assert (head.status_code, head.content) == (full.status_code, b"")
        assert head.headers["content-type"] == full.headers["content-type"]


def test_a_part_continues_only_the_same_version(client, content, project):
    etag = client.get(VIDEO).headers["etag"]
    date = client.get(VIDEO).headers["last-modified"]
    part = {"range": "bytes=1-"}
    for known in (etag, date):
        assert client.get(VIDEO, headers={**part, "if-range": known}).status_code == 206
    for other in ('"other"', "W/" + etag, "Wed, 21 Oct 2015 07:28:00 GMT"):
        answer = client.get(VIDEO, headers={**part, "if-range": other})
        assert answer.status_code == 200 and answer.content == content
    assert client.get(VIDEO, headers={"if-none-match": f'"x", {etag}'}).status_code == 304
    path = project.videos / "soups" / "film 0.webm"
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert client.get(VIDEO).headers["etag"] != etag
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_files_are_closed(client):
    def open_files():
        return len(os.listdir("/proc/self/fd"))

    client.get(VIDEO)
    before = open_files()
    for headers in ({}, {"range": "bytes=0-4"}, {"range": "bytes=999999999-"}):
        client.head(VIDEO, headers=headers)
        client.get(VIDEO, headers={**headers, "if-none-match": "*"})
        client.get(VIDEO, headers=headers)
    assert open_files() <= before


# ----------------------------------------------------------------------- which files

SECRETS = ("secret.mp4", "secret.webm", "secret.txt")


@pytest.fixture(scope="module")
def traps(project, tmp_path_factory):
    """A store whose clips name files that may not be sent, and the folder of its videos."""
    folder = tmp_path_factory.mktemp("traps")
    videos, outside = folder / "videos", folder / "outside"
    for each in (videos / "below", outside, folder / "videos-2"):
        each.mkdir(parents=True)
    for name in SECRETS:
        (outside / name).write_text("secret")
    (folder / "videos-2" / "near.mp4").write_text("secret")
    (videos / "notes.txt").write_text("secret")
    (videos / "good.mp4").write_text("good")
    (videos / "link.mp4").symlink_to(outside / "secret.mp4")
    (videos / "linked").symlink_to(outside)
    (videos / "inner.mp4").symlink_to(videos / "good.mp4")
    (videos / "folder.mp4").mkdir()
    os.mkfifo(videos / "pipe.mp4")
    sources = {
        "absolute": str(outside / "secret.mp4"),
        "dots": str(videos / ".." / "outside" / "secret.mp4"),
        "relative dots": "../outside/secret.mp4",
        "a link": str(videos / "link.mp4"),
        "below a link": str(videos / "linked" / "secret.mp4"),
        "a name": "secret.mp4",
        "a folder beside": str(folder / "videos-2" / "near.mp4"),
        "passwords": "/etc/passwd",
        "text": str(videos / "notes.txt"),
        "a folder": str(videos / "folder.mp4"),
        "a pipe": str(videos / "pipe.mp4"),
        "null": "secret\0.mp4",
        "encoded": "..%2Foutside%2Fsecret.mp4",
        "empty": "",
        "../outside/secret": "",
        "linked/secret": "",
        "good": str(videos / "good.mp4"),
        "inner": str(videos / "inner.mp4"),
        "moved": "/another/machine/good.mp4",
    }
    plain = FeatureStore(project.folder / "plain")
    with StoreWriter(folder / "clips.store", plain.manifest.sizes, "float32") as writer:
        for name, source in sources.items():
            writer.add(replace(plain[0], id=name, source=source, span=None))
        writer.finish()
    return folder / "clips.store", videos, sources


GOOD = {"good", "inner", "moved"}


def test_only_videos_inside_the_folder_are_sent(serving, traps):
    features, videos, sources = traps
    client = serving("--features", str(features), "--videos", str(videos))
    for name in sources:
        answer = client.get("/api/clips/video", params={"id": name})
        if name in GOOD:
            assert (answer.status_code, answer.content) == (200, b"good"), name
        else:
            assert answer.status_code == 404 and b"secret" not in answer.content, name
        picture = client.get("/api/clips/picture", params={"id": name})
        assert picture.status_code == 404, "none of these is a picture"
    for address in ("../outside/secret.mp4", "..%2Foutside%2Fsecret.mp4", "%00", "/etc/passwd"):
        for path in (f"/{address}", f"/static/{address}", f"/api/clips/video?id={address}"):
            assert client.get(path).status_code == 404, path
            assert client.get(quote(path, safe="/?=")).status_code == 404, path


def test_a_file_that_becomes_a_link_or_disappears_is_not_sent(serving, traps, tmp_path):
    features, videos, _ = traps
    client = serving("--features", str(features), "--videos", str(videos))
    video = "/api/clips/video?id=good"
    assert client.get(video).status_code == 200
    (videos / "good.mp4").rename(tmp_path / "kept")
    (videos / "good.mp4").symlink_to(videos.parent / "outside" / "secret.mp4")
    assert client.get(video).status_code == 404
    (videos / "good.mp4").unlink()
    assert client.get(video).status_code == 404
    (tmp_path / "kept").rename(videos / "good.mp4")
    assert client.get(video).status_code == 200
    inner = client.site.clips.about("inner")
    videos.rename(tmp_path / "moved")
    videos.symlink_to(tmp_path / "moved")  # a folder of the path, not its end
    assert inner.path.is_file() and client.get(video).status_code == 404
    videos.unlink()
    (tmp_path / "moved").rename(videos)


def test_the_folder_itself_may_be_a_link(traps, tmp_path):
    features, videos, _ = traps
    (tmp_path / "link").symlink_to(videos)
    clips = Clips(features, tmp_path / "link")
    assert clips.about("good").path == (videos / "good.mp4").resolve()
    assert clips.about("absolute").path is None
    clips.close()


# ------------------------------------------------------------------------- who may ask


@pytest.mark.parametrize(
    ("host", "local", "wide"),
    [
        ("localhost", True, True),
        ("LocalHost:8000", True, True),
        ("127.0.0.1:80", True, True),
        ("127.8.9.1", True, True),
        ("[::1]:8000", True, True),
        ("box.lan:8000", True, True),
        ("192.168.1.7:8000", False, True),
        ("evil.example", False, False),
        ("localhost.evil.example", False, False),
        ("evil.example:8000@localhost", True, True),  # the name is localhost
        ("127.0.0.1.evil.example", False, False),
        ("[", False, False),
        ("", False, False),
    ],
)
def test_only_the_names_of_this_machine_are_answered(host, local, wide):
    """A page elsewhere may let its own name point to 127.0.0.1."""
    names = frozenset({"localhost", "box.lan"})
    assert Access(names, is_local=True).allows_host(host) == local
    assert Access(names, is_local=False).allows_host(host) == wide


def test_other_hosts_are_refused_before_anything_is_read(client):
    for address in ("/", "/api/search?text=a+dog", VIDEO):
        answer = client.get(address, headers={"host": "evil.example"})
        assert answer.status_code == 421 and "--allow_host" in answer.text


TOKEN = "0123456789abcdefABCDEF"
OURS = COOKIE.format(port=8000)


@pytest.fixture(scope="module")
def private(serving):
    names = frozenset({"localhost"})
    return serving(access=Access(names, is_local=False, token=TOKEN))


def test_without_the_token_nothing_is_answered(private):
    private.cookies.clear()
    wrong = [
        {},
        {"authorization": "Bearer x"},
        {"authorization": TOKEN},
        {"authorization": f"Basic {TOKEN}"},
        {"cookie": f"{OURS}={TOKEN[:-1]}"},
        {"cookie": f"{COOKIE.format(port=8001)}={TOKEN}"},
        {"cookie": f"other={TOKEN}"},
        {"cookie": "\u00e9=;;="},
    ]
    for address in ("/", "/api/search?text=a", VIDEO, "/static/page.js", "/openapi.json"):
        for headers in wrong:
            encoded = {name: text.encode("utf-8") for name, text in headers.items()}
            answer = private.get(address, headers=encoded)
            assert answer.status_code == 401 and "set-cookie" not in answer.headers
            assert answer.headers["www-authenticate"] == "Bearer"
        for text in ("x", "", TOKEN + "x", "\u00e9"):
            more = "&" if "?" in address else "?"
            assert private.get(f"{address}{more}token={quote(text)}").status_code == 401


def test_the_token_in_the_address_becomes_a_cookie(private):
    private.cookies.clear()
    answer = private.get(f"/?text=a%20dog&token={TOKEN}&folder=")
    assert answer.status_code == 303 and answer.headers["location"] == "/?text=a+dog&folder="
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Domain" not in cookie
    assert private.get(answer.headers["location"]).status_code == 200
    elsewhere = private.get(f"http://localhost:8000//evil.example/?token={TOKEN}")
    assert elsewhere.headers["location"] == "/evil.example/"
    private.cookies.clear()
    assert private.get("/", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize(
    "others",
    ['state={"open": 1}; ', "x; ", "a b=c d; ", "\u00e9=\u00fc; ", f"{OURS}=old; ", "=; ;"],
)
def test_cookies_of_other_servers_of_this_machine_do_not_matter(private, others):
    private.cookies.clear()
    header = f"{others}{OURS}={TOKEN}; last={{}}".encode()
    assert private.get("/api/health", headers={"cookie": header}).status_code == 200


def test_requests_that_change_or_bring_something_are_refused(client):
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = client.request(method, "/api/search?text=a+dog")
        assert answer.status_code == 405 and answer.headers["allow"] == "GET, HEAD"
    answer = client.request("GET", "/api/health", content=b"x" * 100)
    assert answer.status_code == 413 and "no body" in answer.json()["error"]
    answer = client.request("GET", "/api/health", content=iter([b"x"]))
    assert answer.status_code == 413


def test_too_many_requests_at_once_are_told_to_come_again(client, monkeypatch):
    monkeypatch.setattr("paddlevideo.serve.guard.MOST", 0)
    for address in ("/", "/api/folders"):
        answer = client.get(address)
        assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
    for address in ("/api/health", "/metrics"):  # the server is busy, not dead
        assert client.get(address).status_code == 200
    monkeypatch.undo()
    assert client.get("/api/folders").status_code == 200
