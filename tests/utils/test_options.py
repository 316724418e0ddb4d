"""How command lines are read."""

import ast
from pathlib import Path

import pytest

from paddlevideo.utils.options import Parser, as_path
from paddlevideo.utils.ranges import count

ROOT = Path(__file__).resolve().parents[2]


def make_parser():
    parser = Parser(prog="tool", hints={"--dali": "leave it out"})
    parser.add_argument("-c", "--config")
    parser.add_argument("-o", "--override", nargs="+", action="extend", default=[])
    parser.add_argument("--max_iters", type=count)
    parser.add_argument("--profiler_options")
    parser.add_argument("--amp_level", choices=("O1", "O2"))
    parser.add_argument("--resume", nargs="?", const="auto")
    parser.add_argument("--output", type=as_path)
    parser.add_argument("words", nargs="*")
    return parser


def message_of(capsys, *arguments, parser=None):
    with pytest.raises(SystemExit) as stop:
        (parser or make_parser()).parse_args(arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "usage:" not in error
    return error


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--max-iters", "3"], 'unknown option --max-iters. Did you mean "--max_iters"?'),
        (["--max-iters=3"], 'unknown option --max-iters. Did you mean "--max_iters"?'),
        (["--config-file", "x"], 'unknown option --config-file. Did you mean "--config"?'),
        (["--conf", "x"], 'unknown option --conf. Did you mean "--config"?'),
        (["--prof", "x"], 'unknown option --prof. Did you mean "--profiler_options"?'),
        (["-config", "x"], 'unknown option -config. Did you mean "--config"?'),
        (["--outptu", "x"], 'unknown option --outptu. Did you mean "--output"?'),
        (["-O", "a=1"], 'unknown option -O. Did you mean "-o"?'),
        (["--OUTPUT", "x"], 'unknown option --OUTPUT. Did you mean "--output"?'),
        (["--xyz"], "unknown option --xyz (tool --help"),
        (["--dali"], "there is no option --dali: leave it out"),
        (["--amp_level", "o2"], '--amp_level: "o2" is not one of O1, O2. Did you mean "O2"?'),
        (["--max_iters", "many"], '--max_iters: expected a whole number, got "many"'),
        (["-c"], "-c/--config: expected one argument"),
    ],
)
def test_a_mistake_is_one_line_with_what_was_meant(capsys, arguments, message):
    assert message in message_of(capsys, *arguments)


def test_what_is_right_is_taken():
    options = make_parser().parse_args(
        ["-cfile", "-o", "a=-1", "-ob=2", "--resume=auto", "--", "--max-iters", "-5"]
    )
    assert (options.config, options.override, options.resume) == ("file", ["a=-1", "b=2"], "auto")
    assert options.words == ["--max-iters", "-5"]
    options = make_parser().parse_args(["-5", "- a list -", "--max_iters", "3"])
    assert options.words == ["-5", "- a list -"] and options.max_iters == 3


def test_a_misspelt_option_that_is_required_is_told_as_misspelt(capsys):
    parser = Parser(prog="tool")
    parser.add_argument("--output", required=True)
    assert '"--output"?' in message_of(capsys, "--ouput", "x", parser=parser)
    assert "required: --output" in message_of(capsys, parser=parser)


def test_subcommands_are_read_in_the_same_way(capsys):
    parser = Parser(prog="tool")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("pack").add_argument("--skip_bad", type=count)
    commands.add_parser("inspect")
    assert parser.parse_args(["pack", "--skip_bad", "3"]).skip_bad == 3
    error = message_of(capsys, "pack", "--skip-bad", "3", parser=parser)
    assert 'Did you mean "--skip_bad"?' in error and "tool pack --help" in error
    assert 'Did you mean "pack"?' in message_of(capsys, "pakc", parser=parser)
    assert "unknown option --skip_bad" in message_of(capsys, "inspect", "--skip_bad", parser=parser)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["x.yaml"], "x.yaml belongs to no option: write -c x.yaml"),
        (["-c", "x.yaml", "a.b=1", "c=2"], "a.b=1 c=2 belongs to no option: write -o a.b=1"),
        (["word"], "word belongs to no option (tool --help"),
        (["w.pdparams"], "w.pdparams belongs to no option (tool --help"),
    ],
)
def test_what_belongs_to_no_option_is_told(capsys, arguments, message):
    parser = Parser(prog="tool")
    parser.add_argument("-c", "--config")
    parser.add_argument("-o", "--override", nargs="+")
    assert message in message_of(capsys, *arguments, parser=parser)


def test_a_path_has_its_home_and_variables_replaced(capsys, monkeypatch):
    monkeypatch.setenv("HOME", "/home/user")
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.delenv("ABSENT", raising=False)
    assert make_parser().parse_args(["--output", "~/x"]).output == Path("/home/user/x")
    assert make_parser().parse_args(["--output=$DATA/x"]).output == Path("/data/x")
    assert "ABSENT is not set" in message_of(capsys, "--output", "$ABSENT/x")
    assert "--output: the path is empty" in message_of(capsys, "--output", "")


def unbounded_numbers(path):
    """Lines with an option that takes any number; not those within a benchmark."""
    tree = ast.parse(path.read_text())
    internal = {
        inner
        for function in tree.body
        if isinstance(function, ast.FunctionDef) and "ArgumentParser()" in ast.unparse(function)
        for inner in ast.walk(function)
    }
    for call in set(ast.walk(tree)) - internal:
        is_type = isinstance(call, ast.keyword) and call.arg == "type"
        if is_type and ast.unparse(call.value) in {"int", "float"}:
            yield f"{path.relative_to(ROOT)}:{call.value.lineno}"


def test_every_number_of_a_command_line_has_bounds():
    files = [ROOT / "main.py", *(ROOT / "tools").rglob("*.py")]
    assert not [line for path in files for line in unbounded_numbers(path)]
