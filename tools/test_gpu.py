"""Checks this project on a GPU, or what a CPU can check of it; ``--help`` lists the checks."""

from door import run_command

if __name__ == "__main__":
    run_command("command", package="gpu_checks")
