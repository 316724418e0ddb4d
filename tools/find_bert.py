"""The same as ``paddlevideo find_bert``; ``--help`` lists its options."""

from door import run_command

if __name__ == "__main__":
    run_command("find_bert")
