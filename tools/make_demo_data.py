"""The same as ``paddlevideo make_demo_data``; ``--help`` lists its options."""

from door import run_command

if __name__ == "__main__":
    run_command("make_demo_data")
