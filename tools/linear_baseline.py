"""The same as ``paddlevideo linear_baseline``; ``--help`` lists its options."""

from door import run_command

if __name__ == "__main__":
    run_command("linear_baseline")
