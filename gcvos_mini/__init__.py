"""Global context, step by step: a reproduction of Li, Shen and Shan (2020) to read and run."""

import os

__version__ = "0.1.0"

# libgomp's threads wait for work by spinning, 300,000 turns unless told otherwise: two programs on
# the same cores then slow each other twentyfold. 10,000 cost a lone one nothing and two at once
# a factor of two beyond their share. Read when torch is loaded first, so it is set here.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def __getattr__(name):
    # Loaded on first use: scoring masks and rendering clips need no torch.
    if name == "load_model":
        from gcvos_mini.network import load_model

        return load_model
    raise AttributeError(f"module 'gcvos_mini' has no attribute {name!r}")
