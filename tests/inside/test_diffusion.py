"""Participation ratios and entropies of vectors whose spread is known."""

from __future__ import annotations

import numpy as np
import pytest

from qvbench.inside.diffusion import (
    Projected,
    contrast,
    diffusion,
    spread,
)


def test_one_feature_and_all_alike() -> None:
    """Catches squares for absolute values, signs that cancel, logarithms to another base."""
    one, alike = np.eye(8)[2] * -3, np.array([2.0, -2] * 4)
    assert spread(one) == (1, 0)
    assert spread(alike) == pytest.approx((8, np.log(8)))
    half = np.array([1.0, 1, 1, 1, 0, 0, 0, 0])
    assert spread(half) == pytest.approx((4, np.log(4)))
    assert np.isnan(spread(np.zeros(3))[0])


def test_gaussian_features_give_the_known_ratio() -> None:
    """Catches the reference values of the page: 2/pi of a vector, 4/pi^2 of a product."""
    rng = np.random.default_rng(0)
    q, k = rng.normal(size=(2, 200, 4096))
    assert spread(q)[0].mean() / 4096 == pytest.approx(2 / np.pi, rel=0.01)
    assert spread(q * k)[0].mean() / 4096 == pytest.approx(4 / np.pi**2, rel=0.01)


def test_products_are_weighted_by_attention() -> None:
    """Catches pairs that a head does not look at, and shared heads paired with the wrong query."""
    queries = np.ones((4, 1, 2))
    keys = np.array([[[1.0, 0], [1, 1]], [[1.0, 1], [1, 0]]])  # two heads for four
    attention = np.array([[[1.0, 0]], [[0, 1.0]], [[0.5, 0.5]], [[0, 1.0]]])
    found = diffusion([Projected(queries, keys, keys, attention)] * 2)
    np.testing.assert_allclose(found["queries * keys, participation"].value, [1, 2, 1.5, 1])
    np.testing.assert_allclose(found["queries, participation"].value, 2)
    np.testing.assert_allclose(found["values, participation"].value, 1.5)
    wide = Projected(queries, keys, np.ones((2, 2, 3)), attention)
    assert "queries * values, entropy" not in diffusion([wide, wide])


def test_a_rotation_keeps_logits_and_forgets_features() -> None:
    """Catches queries and keys rotated apart, whose products are others' logits; and vectors along
    one axis, whose spread is the basis and nothing else."""
    rng = np.random.default_rng(0)
    axis = np.zeros((2, 30, 16))
    axis[..., 3] = rng.normal(size=(2, 30))
    sentence = Projected(axis, axis, axis, np.full((2, 30, 30), 1 / 30))
    found = diffusion([sentence] * 3)
    np.testing.assert_allclose(found["queries * keys, participation"].value, 1)
    rotated = found["queries * keys, participation, rotated"].value
    # All features of a product have one sign: those of one vector, squared.
    direction = spread(np.linalg.qr(rng.normal(size=(500, 16, 16)))[0][:, 3] ** 2)[0]
    assert direction.min() < rotated.min() <= rotated.max() < direction.max()
    apart = contrast(
        found["queries, participation, rotated"], found["keys, participation, rotated"]
    )
    np.testing.assert_allclose(apart.value, 0, atol=1e-12)
