"""docs/operations.md: its commands run, its metrics are those of real runs, its rules name them."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from paddlevideo.cli import serve
from paddlevideo.utils.json_streams import json_line
from tests.extract import samples
from tests.test_elastic import free_ports

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")
#: Words of PromQL that the rules use.
PROMQL = {"sum", "by", "rate", "increase", "histogram_quantile", "time", "and", "up"}
#: Lets the extraction wait with its last video until it was asked, and the answer for that video.
SLOWLY = """
import sys, threading
from paddlevideo.cli import main
from paddlevideo.extract.totals import Totals

last, asked, add, collect = threading.Event(), threading.Event(), Totals.add, Totals.collect

def waiting(self, status):
    add(self, status)
    if not self.left:
        last.set()
        asked.wait(30)

def answering(self):
    last.wait(30)
    yield from collect(self)
    asked.set()

Totals.add, Totals.collect = waiting, answering
sys.exit(main())
"""


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.fixture(scope="module")
def folder(project, tmp_path_factory):
    """A folder with the files that the page names."""
    made = tmp_path_factory.mktemp("operations")
    weights = made / "output" / "ActBert_videos"
    weights.mkdir(parents=True)
    shutil.copy(project.weights, weights / "ActBert_videos_best.pdparams")
    shutil.copy(project.recipe, weights / "config.yaml")
    videos = samples.write_clips(made / "data" / "demo" / "videos")
    (videos / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + b"x" * 1000)
    (made / "data" / "videos.store").symlink_to(project.features)
    return made


@pytest.fixture(scope="module")
def printed(folder):
    """What the page's commands print, from the first to the last."""
    for program in ("jq", "curl"):
        if shutil.which(program) is None:
            pytest.skip(f"the page's commands need {program}")
    port, metrics_port = free_ports(2)
    (folder / "slowly.py").write_text(SLOWLY)
    here = shlex.quote(sys.executable)
    script = f"""
set -eo pipefail
python() {{ {here} "$@"; }}
paddlevideo() {{
    if [ $1 = extract ]; then exec {here} slowly.py "$@"; fi
    exec {here} -m paddlevideo "$@" --port {port}
}}
{"".join(blocks("bash"))}
kill -TERM %1
wait %1
"""
    script = script.replace("localhost:8000", f"localhost:{port}")
    script = script.replace("9101", str(metrics_port)).replace("wait $!", "wait $! || test $? = 1")
    quiet = {"no_proxy": "localhost,127.0.0.1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=folder,
        env={**os.environ, **quiet},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, error = process.communicate(timeout=80)
        assert process.returncode == 0, out[-2000:] + error
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return out


@pytest.fixture(scope="module")
def families(printed):
    """Metrics that were printed, by name as on the page: type and names of labels."""
    from prometheus_client.parser import text_string_to_metric_families

    lines = [line for line in printed.splitlines() if re.match(r"# \w+ |(paddle|process)\w+", line)]
    found: dict[str, tuple[str, set[str]]] = {}
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        kind = "info" if family.name.endswith("_info") else family.type
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        name = family.name.removesuffix("_info")
        found[name] = (kind, labels | found.get(name, ("", set()))[1])
    return {name: about for name, about in found.items() if not name.endswith("_created")}


@pytest.mark.slow
def test_the_tables_are_those_of_real_runs(families):
    rows = re.findall(r"^\| `(paddlevideo_\w+)` \| (\w+) \|(.*?)\|", PAGE, re.M)
    written: dict[str, tuple[str, set[str]]] = {}
    for name, kind, labels in rows:
        before = written.get(name, (kind, set()))[1]
        written[name] = (kind, before | set(re.findall(r"`(\w+)`", labels)))
    assert written == {name: each for name, each in families.items() if "process_" not in name}
    named = set(re.findall(r"`(process_\w+)`", PAGE))
    assert named <= {*families, "process_cpu_seconds_total"} and "process_cpu_seconds" in families


@pytest.mark.slow
def test_the_rules_name_metrics_and_labels_that_there_are(families):
    known = set()
    for name, (kind, _) in families.items():
        ends = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(kind, [""])
        known |= {name + end for end in ends}
    rules = yaml.safe_load(next(text for text in blocks("yaml") if "groups:" in text))
    expressions = {rule["alert"]: rule["expr"] for rule in rules["groups"][0]["rules"]}
    assert len(expressions) == 7
    labels = {label for _, names in families.values() for label in names} | {"job", "instance"}
    for expression in expressions.values():
        bare = re.sub(r'"[^"]*"|\[\d+m\]', "", expression)
        assert bare.count("(") == bare.count(")") and bare.count("{") == bare.count("}")
        inside = set(re.findall(r"(\w+)!?=", re.sub(r"==", "", bare)))
        words = set(re.findall(r"\b[a-z]\w*", bare)) - inside
        assert inside <= labels
        assert words <= known | PROMQL | {"instance", "le"}, words
    values = {'route="/api/search"', 'answer="error"', 'status="failed"', 'reason!="indexing"'}
    assert all(any(value in each for each in expressions.values()) for value in values)
    told = re.findall(r"^\| ([A-Z]\w+) \| \S", PAGE, re.M)
    assert told == list(expressions), "each rule has advice"


@pytest.mark.slow
def test_the_commands_print_what_the_page_says(printed, folder):
    assert '"status": "ready"' in printed and "paddlevideo_ready 1.0" in printed
    assert 'paddlevideo_searches_total{answer="model"} 1.0' in printed
    failed = '{cause="cannot be opened",status="failed"} '
    assert f"paddlevideo_extract_videos_total{failed}1.0" in printed
    assert re.search(r"^[\d.]+\tright.mp4\t$", printed, re.M), "jq lists the videos"
    assert re.search(r"^20\S+Z\t/api/search\t200\t[\d.]+$", printed, re.M), "and requests"
    for name in ("serve.log", "extract.log"):
        assert all(map(json.loads, (folder / name).read_text().splitlines()))
    assert oct((folder / "token").stat().st_mode)[-3:] == "600"


def test_the_lines_have_the_fields_that_are_shown():
    shown = [
        json.loads(line) for text in blocks("text") for line in text.splitlines() if "{" in line[:1]
    ]
    assert [line["event"] for line in shown] == ["video", "request"]
    for line in shown:
        fields = {name: value for name, value in line.items() if name != "time"}
        assert list(json.loads(json_line(**fields))) == list(line)


def test_the_configuration_of_prometheus_is_yaml_with_the_port_of_the_page():
    settings = yaml.safe_load(next(text for text in blocks("yaml") if "scrape_configs" in text))
    jobs = {job["job_name"]: job for job in settings["scrape_configs"]}
    assert jobs["paddlevideo_serve"]["static_configs"][0]["targets"][0].endswith(f":{serve.PORT}")
    assert "--metrics_port 9101" in PAGE
    assert jobs["paddlevideo_extract"]["static_configs"][0]["targets"][0].endswith(":9101")


def test_the_unit_of_systemd_starts_a_command_that_exists(monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/search.service")
    unit = next(text for text in blocks("text") if "[Service]" in text)
    [line] = re.findall(r"^ExecStart=(.+)$", unit, re.M)
    program, verb, *arguments = shlex.split(line)
    assert program.endswith("/bin/paddlevideo") and verb == "serve"
    options = serve.parse_arguments(arguments)
    assert options.log_format == "json" and options.token_file.name == "token"
    assert "Restart=on-failure" in unit
