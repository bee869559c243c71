"""Render the embedded data set: the same as ``python -m gcvos_mini.toy --out DIR``."""

from gcvos_mini.errors import exit_on_bad_input
from gcvos_mini.toy import main

if __name__ == "__main__":
    exit_on_bad_input(main)
