"""The same as ``paddlevideo prepare_data``; ``--help`` lists its options."""

from door import run_command

if __name__ == "__main__":
    run_command("prepare_data")
