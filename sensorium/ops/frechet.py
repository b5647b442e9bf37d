"""How far generated pictures are from real ones, from the feature vectors of both: FID and KID.

Formulae and defaults are those of torch-fidelity. FID (Heusel et al. 2017) fits a Gaussian to each set and
grows with fewer examples; KID (Binkowski et al. 2018) is unbiased, to be trusted on a few hundred.
"""

from __future__ import annotations

import numpy as np

from sensorium.errors import InputError


def _check(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise InputError(f"features must be (n, d) with the same d, not {x.shape} and {y.shape}")
    if len(x) < 2 or len(y) < 2:
        raise InputError(f"FID and KID need two examples or more on each side, not {len(x)} and {len(y)}")
    return x, y


def fid(x: np.ndarray, y: np.ndarray) -> float:
    """The Fréchet distance between Gaussians fitted to two sets of features; 0 is best.

    With S = A'A and T = B'B, the trace of (ST)^(1/2) is the sum of the singular values of AB'. That needs no
    matrix root, and is exact where a covariance has not full rank (fewer examples than features).

    Args:
        x: features of one set, (n, d).
        y: features of the other, (m, d).

    Raises:
        InputError: a set has fewer than two rows, or the sets differ in d.
    """
    x, y = _check(x, y)
    difference = x.mean(0) - y.mean(0)
    a = (x - x.mean(0)) / np.sqrt(len(x) - 1)
    b = (y - y.mean(0)) / np.sqrt(len(y) - 1)
    spread = (a * a).sum() + (b * b).sum()
    r, s = np.linalg.qr(a)[1], np.linalg.qr(b)[1]  # A'A = R'R: (d, d) at most, however many examples
    root = np.linalg.svd(r @ s.T, compute_uv=False).sum()
    return float(difference @ difference + spread - 2 * root)


def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The kernel of KID, (x·y / d + 1)³: (n, d) and (m, d) to (n, m)."""
    k = x @ y.T / x.shape[1] + 1
    cube: np.ndarray = k * k * k
    return cube


def mmd(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy under the kernel of KID.

    Args:
        x: features, (n, d).
        y: features, (m, d).
    """
    n, m = len(x), len(y)
    xx, yy = kernel(x, x), kernel(y, y)
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2 * kernel(x, y).mean())


def kid(
    x: np.ndarray, y: np.ndarray, *, subsets: int = 100, subset_size: int = 1000, seed: int = 2020
) -> tuple[float, float]:
    """The kernel inception distance: mean and standard deviation over random subsets; 0 is best.

    With a `subset_size` of both sets or more, every subset is the whole, and the standard deviation 0.
    Being unbiased, it may be a little below 0 where the sets are alike.

    Args:
        x: features of one set, (n, d).
        y: features of the other, (m, d).
        subsets: number of subsets.
        subset_size: examples drawn from each set, without replacement; at most the smaller set.
        seed: of the draws.

    Raises:
        InputError: a set has fewer than two rows, or the sets differ in d.
    """
    x, y = _check(x, y)
    size = min(subset_size, len(x), len(y))
    if size == len(x) == len(y):
        return mmd(x, y), 0.0
    draw = np.random.RandomState(seed)
    values = [
        mmd(x[draw.choice(len(x), size, replace=False)], y[draw.choice(len(y), size, replace=False)])
        for _ in range(subsets)
    ]
    return float(np.mean(values)), float(np.std(values))


def paired_mmd(x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> float:
    """`mmd` of a bootstrap resample: row i of both sets was drawn `counts[i]` times.

    A resample holds copies of the same example, and a kernel of a picture with its copy is not that of two
    independent pictures: left in, it would shift every resample upwards, away from the estimate. So pairs of
    copies are left out within a set, and counted once across. With all counts 1 this equals `mmd`.

    Args:
        x: features of the distinct examples of one set, (n, d).
        y: features of the other set, the same examples in the same order, (n, d).
        counts: (n,), at least 1.
    """
    w = np.asarray(counts, np.float64)
    total = w.sum()
    pairs = total * total - (w * w).sum()
    if pairs == 0:  # one example, drawn again and again
        return float("nan")
    xx, yy, xy = kernel(x, x), kernel(y, y), kernel(x, y)
    diagonal = w * w - w
    within = (w @ xx @ w - (w * w) @ np.diagonal(xx) + w @ yy @ w - (w * w) @ np.diagonal(yy)) / pairs
    across = (w @ xy @ w - diagonal @ np.diagonal(xy)) / (total * total - diagonal.sum())
    return float(within - 2 * across)
