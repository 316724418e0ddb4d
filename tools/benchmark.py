"""Measures this project beside PaddleVideo 2.3.1; ``--help`` lists the benchmarks."""

from door import run_command

if __name__ == "__main__":
    run_command("command", package="benchmarks")
