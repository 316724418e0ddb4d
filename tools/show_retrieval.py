"""Draws what a retrieval test found, a caption a row; ``--help`` lists its options."""

from door import run_command

if __name__ == "__main__":
    run_command("report.picture")
