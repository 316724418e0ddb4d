"""A search page whose index is in Milvus, which goes away and comes back."""

import pytest

from paddlevideo.retrieval import milvus_index, milvus_server
from tests.milvus_process import Server
from tests.serve.conftest import VIDEOS

pytest.importorskip("pymilvus", reason="pymilvus is not installed: the extra scale has it")
pytest.importorskip("milvus_lite", reason="milvus-lite is not installed: the extra scale has it")


def same(first, second):
    """Compares two answers to a search, whose similarities may differ in the last bits."""
    assert first["total"] == second["total"]
    for one, other in zip(first["clips"], second["clips"], strict=True):
        assert one["clip"] == other["clip"]
        for name in ("score", "margin", "similarity"):
            assert one[name] == pytest.approx(other[name], abs=1e-4)
    return True


@pytest.mark.slow
def test_answers_are_those_of_the_folder_and_503_while_it_is_away(
    client, serving, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(milvus_index, "SEARCH_SECONDS", 1.0)
    server = Server(tmp_path / "data")
    server.start()
    try:
        other = serving("--index", server.address)
        for address in (
            "/api/search?text=a+dog&best=7",
            "/api/search?text=a+red+soup&best=7&match=0",
            "/api/search?text=a+dog&folder=soups",
            "/api/search?text=a+dog&folder=dogs&match=2",
            "/api/search?like=video2&best=7",
            "/api/search?like=video2&folder=dogs",
        ):
            assert same(other.get(address).json(), client.get(address).json()), address
        server.kill()
        for address in ("/api/search?text=a+cat", "/?text=a+cat", "/api/search?like=video4"):
            answer = other.get(address)
            assert answer.status_code == 503 and answer.headers["retry-after"] == "5", address
            assert "the index does not answer" in answer.text
            assert str(server.port) not in answer.text, "visitors are not told the address"
        assert f"{server.address}: Milvus does not answer" in caplog.text
        assert other.site.engine.error is None and other.get("/api/health").status_code == 200
        assert other.get("/api/search?text=a+dog&best=7").status_code == 200, "it is known"
        server.start()
        monkeypatch.setattr(milvus_index, "SEARCH_SECONDS", 10.0)
        assert len(other.get(f"/api/search?text=a+cat&best={VIDEOS}").json()["clips"]) == VIDEOS
    finally:
        server.kill()


def test_an_index_that_another_process_changed_ends_the_server(serving, tmp_path):
    """Else it would answer 503 until someone notices, and say that it is ready."""
    other = serving("--index", str(tmp_path / "index.db"))
    index = other.site.engine.searcher.index
    index._remove(index._clips.keys[:1])
    answer = other.get("/api/search?text=a+dog")
    assert answer.status_code == 503 and "started again" in answer.json()["error"]
    assert "was changed by another process" in str(other.site.engine.error)
    refused = other.site.engine.metrics.registry.get_sample_value
    assert refused("paddlevideo_refused_total", {"reason": "replaced"}) == 1
    assert refused("paddlevideo_refused_total", {"reason": "away"}) == 0


@pytest.mark.slow
def test_a_server_that_is_away_at_the_start_ends_it_with_one_line(project, capsys, monkeypatch):
    from paddlevideo.cli import serve
    from tests.serve.conftest import words

    monkeypatch.setattr(milvus_server, "SECONDS", 1.0)
    place = ["--index", "http://127.0.0.1:9"]
    assert serve.main(words(project, "--port", "0", *place)) == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert error.splitlines()[-1].startswith("error: http://127.0.0.1:9: Milvus does not answer")
