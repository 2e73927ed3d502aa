"""Colours, strengths and overlays, against their definitions."""

import cv2
import numpy as np
import pytest

from mmseg_proto.visualization.overlay import (
    prototype_colours,
    strength,
    strength_range,
    winner_overlay,
    with_borders,
)


@pytest.mark.parametrize("count", [0, 1, 5, 10, 20, 60, 300])
def test_colours_are_distinct(count: int) -> None:
    colours = prototype_colours(count)
    assert colours.shape == (count, 3)
    assert colours.dtype == np.uint8
    assert len(np.unique(colours, axis=0)) == count
    if 1 < count <= 60:
        lab = cv2.cvtColor(colours[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
        apart = np.linalg.norm(lab[:, None] - lab, axis=2) + 1000 * np.eye(count)
        # A difference of 2 in CIELAB is what one just sees.
        assert apart.min() > (25 if count <= 10 else 15)


def test_a_prototype_keeps_its_colour_when_there_are_more() -> None:
    assert np.array_equal(prototype_colours(30)[:7], prototype_colours(7))
    prototype_colours(3)[:] = 0
    assert prototype_colours(3).any()


def test_strength_falls_with_distance() -> None:
    cosines = np.linspace(-1, 1, 201).reshape(3, 67)
    strong = strength(cosines)
    assert strong.shape == cosines.shape
    assert strong.dtype == np.float32
    assert (np.diff(strong.flatten()) >= 0).all()
    assert (strong == 0).mean() == pytest.approx(0.05, abs=0.01)
    assert (strong == 1).mean() == pytest.approx(0.05, abs=0.01)
    # Evenly in between.
    inner = strong[(strong > 0) & (strong < 1)]
    np.testing.assert_allclose(np.diff(inner), np.diff(inner)[0], atol=1e-6)


def test_strengths_of_a_picture_share_a_scale() -> None:
    picture = np.random.default_rng(0).random((20, 30))
    low, high = strength_range(picture)
    expected = np.clip((picture[:5] - low) / (high - low), 0, 1)
    np.testing.assert_allclose(strength(picture[:5], picture), expected, rtol=1e-5)


def test_strength_of_nothing_and_of_equal_pixels() -> None:
    assert strength(np.zeros((0, 4))).shape == (0, 4)
    assert (strength(np.full((2, 2), 0.3)) == 1).all()


def slow_overlay(
    image: np.ndarray,
    winners: np.ndarray,
    strong: np.ndarray,
    colours: np.ndarray,
    mask: np.ndarray,
) -> np.ndarray:
    """The definition, pixel by pixel."""
    value: float
    out = np.zeros(image.shape, dtype=np.uint8)
    for row, column in np.ndindex(*winners.shape):
        grey = sum(int(value) for value in image[row, column]) / 3
        for channel in range(3):
            if not mask[row, column] or winners[row, column] < 0:
                value = 165 + 0.3 * grey
            else:
                opacity = 0.3 + 0.6 * float(strong[row, column])
                tint = float(colours[winners[row, column], channel])
                value = (1 - opacity) * (90 + 0.64 * grey) + opacity * tint
            out[row, column, channel] = round(value)
    return out


def test_overlay_against_the_slow_oracle() -> None:
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (9, 11, 3), dtype=np.uint8)
    image[0], image[1] = 0, 255
    winners = generator.integers(-1, 4, (9, 11)).astype(np.int16)
    strong = generator.random((9, 11), dtype=np.float32)
    mask = generator.random((9, 11)) < 0.5
    colours = prototype_colours(4)
    for given in (mask, None):
        found = winner_overlay(image, winners, strong, colours, given)
        everywhere = np.ones_like(mask) if given is None else given
        expected = slow_overlay(image, winners, strong, colours, everywhere)
        assert found.dtype == np.uint8
        assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1


def test_borders_lie_between_classes() -> None:
    labels = np.array([[0, 0, 1], [0, 0, 1], [2, 2, 2]])
    picture = np.zeros((3, 3, 3), dtype=np.uint8)
    white = with_borders(picture, labels)[..., 0] == 255
    assert white.tolist() == [[False, True, False], [True, True, True], [False, False, False]]
    assert not picture.any()
