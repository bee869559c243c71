"""The plain loops that reads and gradients of the linear memories are held against, in float64."""

import itertools

import torch

RESULTS = "read", "key", "value", "query"  # the read and its three gradients


def features(shape, seed=0, dtype=torch.float64, positive=False, device="cpu"):
    """Random keys (T, B, C_key, H, W), values, query and a gradient of the read (B, C_value, H, W).

    shape: (T, B, C_key, C_value, H, W).
    """
    T, B, C_key, C_value, H, W = shape
    generator = torch.Generator().manual_seed(seed)
    sizes = (T, B, C_key, H, W), (T, B, C_value, H, W), (B, C_key, H, W), (B, C_value, H, W)
    made = [torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes]
    return [(x.abs() if positive else x).to(device, dtype) for x in made]


def written(memory, keys, values):
    """The memory, after it has been given all these frames."""
    for key, value in zip(keys, values, strict=True):
        memory.write(key, value)
    return memory


def loops(keys, values, query, upstream, normalization="none"):
    """The read and the gradients of sum(upstream * read), term by term: {RESULTS: tensor}.

    read[b, c, i] is the sum over t, p, a of q[b, a, i] k[t, b, a, p] v[t, b, c, p] over the
    divisor, so each term gives the read, and each of its three factors, one summand.
    """
    T, B, C_key, H, W = keys.shape
    N, C_value = H * W, values.shape[2]
    divisor = T * N if normalization == "mean" else T
    tensors = [x.detach().double().cpu().flatten(-2) for x in (keys, values, query, upstream)]
    k, v, q, u = (x.tolist() for x in tensors)
    dk, dv, dq, read = (torch.zeros(x.shape).tolist() for x in tensors)
    for t, b, a, c in itertools.product(range(T), range(B), range(C_key), range(C_value)):
        for i in range(N):
            for p in range(N):
                key, value, ask, up = k[t][b][a][p], v[t][b][c][p], q[b][a][i], u[b][c][i]
                read[b][c][i] += ask * key * value / divisor
                dk[t][b][a][p] += ask * value * up / divisor
                dv[t][b][c][p] += ask * key * up / divisor
                dq[b][a][i] += key * value * up / divisor
    results = (torch.tensor(x, dtype=torch.float64) for x in (read, dk, dv, dq))
    return dict(zip(RESULTS, (x.unflatten(-1, (H, W)) for x in results), strict=True))
