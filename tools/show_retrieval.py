"""The same as ``paddlevideo show_retrieval``; ``--help`` lists its options."""

from door import run_command

if __name__ == "__main__":
    run_command("report.picture")
