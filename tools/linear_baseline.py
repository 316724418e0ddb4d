"""Tests a linear map in the place of the model; ``--help`` lists its options."""

from door import run_command

if __name__ == "__main__":
    run_command("linear_baseline")
