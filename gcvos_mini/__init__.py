"""Global context, step by step: a reproduction of Li, Shen and Shan (2020) to read and run."""

__version__ = "0.1.0"


def __getattr__(name):
    # Loaded on first use: scoring masks and rendering clips need no torch.
    if name == "load_model":
        from gcvos_mini.network import load_model

        return load_model
    raise AttributeError(f"module 'gcvos_mini' has no attribute {name!r}")
