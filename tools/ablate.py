"""Trains and tests variants of a recipe; ``--help`` lists its options."""

from door import run_command

if __name__ == "__main__":
    run_command("ablate")
