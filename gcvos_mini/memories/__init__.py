"""Memories of constant size beyond the mean, each a file of its own, through the public door.

    python -m gcvos_mini.train --memory gcvos_mini.memories.forgetting:Forgetting ...

`forgetting` counts new frames more, `gated` learns how much, `delta` corrects what a key holds,
`normalised` divides eq. 3 by its weights, `random_features` approximates STM's softmax. All have
the interface of `gcvos_mini.memory`, shapes included.
"""
