"""The same as ``paddlevideo export``; ``--help`` lists its options."""

from door import run_command

if __name__ == "__main__":
    run_command("export_model")
