"""t-SNE of a few hundred vectors: exact, in numpy. van der Maaten and Hinton, 2008."""

from __future__ import annotations

import numpy as np

NUM_COMPONENTS = 50  # of the PCA before it; paper, figure 13
EXAGGERATION, EXAGGERATED_STEPS = 12.0, 100


def principal_components(x: np.ndarray, num_components: int = NUM_COMPONENTS) -> np.ndarray:
    """Vectors (N, D) in the coordinates of their largest variance, (N, min(N, D, components))."""
    centred = x - x.mean(0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    return (left * scale)[:, :num_components]


def tsne(
    x: np.ndarray, *, perplexity: float = 30.0, num_steps: int = 500, seed: int = 0
) -> np.ndarray:
    """Vectors (N, D) to the plane, float64 (N, 2), near ones near.

    Raises ValueError when there are fewer than 3 vectors for each unit of perplexity.
    """
    if len(x) < 3 * perplexity:
        raise ValueError(
            f"tsne: expected at least {3 * perplexity:g} vectors for perplexity {perplexity:g}, "
            f"got {len(x)}"
        )
    p = _affinities(_squared_distances(x), perplexity)
    y = 1e-4 * np.random.default_rng(seed).standard_normal((len(x), 2))
    velocity, gain = np.zeros_like(y), np.ones_like(y)
    rate = max(len(x) / EXAGGERATION, 50.0)
    for step in range(num_steps):
        early = step < EXAGGERATED_STEPS
        weight = 1.0 / (1.0 + _squared_distances(y))
        np.fill_diagonal(weight, 0.0)
        pull = (p * (EXAGGERATION if early else 1.0) - weight / weight.sum()) * weight
        gradient = 4.0 * (pull.sum(1)[:, None] * y - pull @ y)
        gain = np.where(gradient * velocity < 0, gain + 0.2, np.maximum(gain * 0.8, 0.01))
        velocity = (0.5 if early else 0.8) * velocity - rate * gain * gradient
        y = y + velocity
    return y - y.mean(0)


def _squared_distances(x: np.ndarray) -> np.ndarray:
    square = (x * x).sum(1)
    return np.maximum(square[:, None] + square - 2.0 * x @ x.T, 0.0)


def _affinities(distance: np.ndarray, perplexity: float) -> np.ndarray:
    """Symmetric neighbour probabilities (N, N): each row's Gaussian has the wanted perplexity."""
    low, high = np.full(len(distance), -50.0), np.full(len(distance), 50.0)
    others = distance + np.where(np.eye(len(distance), dtype=bool), np.inf, 0.0)
    others = others - others.min(1, keepdims=True)
    scale = np.median(others[np.isfinite(others)]) + 1e-12
    for _ in range(60):
        middle = (low + high) / 2
        p = np.exp(-others / scale * np.exp(middle)[:, None])
        p /= p.sum(1, keepdims=True)
        entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(1)
        too_wide = entropy > np.log(perplexity)
        low, high = np.where(too_wide, middle, low), np.where(too_wide, high, middle)
    p = (p + p.T) / (2 * len(p))
    return np.maximum(p, 1e-12)
