"""Render the embedded data set: the same as ``python -m gcvos_mini.toy --out DIR``."""

import runpy

if __name__ == "__main__":
    runpy.run_module("gcvos_mini.toy", run_name="__main__")
