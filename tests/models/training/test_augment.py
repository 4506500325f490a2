from dataclasses import replace

import numpy as np
import pytest
import torch

from models.training.augment import AugmentConfig, augment

STILL = AugmentConfig(
    stain_scale=0, stain_shift=0, brightness=0, contrast=0, blur=0, warp=0, white=0, blank=0
)


def make_batch(n: int = 64, side: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    """Every pixel differs from every other, and none is black."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(1, 256, (1, side, side, 3), dtype=np.uint8).repeat(n, axis=0)
    return torch.from_numpy(rgb), torch.ones(n, dtype=torch.int64)


def run(config: AugmentConfig, crop_px: int = 50, seed: int = 0, n: int = 64):
    generator = torch.Generator().manual_seed(seed)
    pixels, label = augment(*make_batch(n), crop_px, config, generator)
    return pixels.numpy(), label.numpy()


def test_without_jitter_a_tile_is_turned_or_mirrored_in_all_eight_ways():
    pixels, _ = run(STILL)
    tile = make_batch(1)[0][0].numpy() / 255
    ways = [np.rot90(side, turns) for side in (tile, tile[:, ::-1]) for turns in range(4)]
    seen = set()
    for one in pixels.transpose(0, 2, 3, 1):
        errors = [abs(one - way).max() for way in ways]
        assert min(errors) < 1e-5
        seen.add(int(np.argmin(errors)))
    assert seen == set(range(8))


def test_a_crop_is_a_piece_of_the_tile():
    pixels, _ = run(STILL, crop_px=40)
    assert pixels.shape == (64, 3, 40, 40)
    values = set((make_batch(1)[0].numpy().reshape(-1, 3) * [1, 256, 65536]).sum(axis=1).tolist())
    corner = np.rint(pixels[:, :, 0, 0] * 255).astype(int)
    corners = set((corner * [1, 256, 65536]).sum(axis=1).tolist())
    assert corners <= values
    assert len(corners) > 30


def test_the_same_generator_repeats_the_batch():
    first, again, other = run(AugmentConfig()), run(AugmentConfig()), run(AugmentConfig(), seed=1)
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[0] != other[0]).any()


def test_pixels_stay_in_range():
    pixels, _ = run(AugmentConfig(stain_scale=1, stain_shift=0.5, brightness=1, contrast=1))
    assert pixels.min() >= 0
    assert pixels.max() <= 1
    assert np.isfinite(pixels).all()


def test_only_a_share_of_the_tiles_has_its_colours_changed():
    glass = torch.full((2000, 8, 8, 3), 180, dtype=torch.uint8)
    colours = replace(STILL, brightness=0.05, stain_scale=0.2, colours=0.25)

    pixels, _ = augment(
        glass, torch.ones(2000, dtype=torch.int64), 8, colours, torch.Generator().manual_seed(0)
    )

    changed = (pixels - 180 / 255).abs().amax((1, 2, 3)) > 1e-4
    assert changed.float().mean() == pytest.approx(0.25, abs=0.03)
    assert len(pixels[changed].mean((1, 2, 3)).unique()) > 400  # each in its own way


def test_no_share_is_no_change_of_colour():
    kept, _ = run(AugmentConfig(colours=0, warp=0, white=0, blank=0))
    tile = make_batch(1)[0][0].numpy() / 255
    np.testing.assert_allclose(np.sort(kept[0].ravel()), np.sort(tile.ravel()), atol=1e-6)


def test_stain_jitter_leaves_white_glass_white():
    glass = torch.full((8, 50, 50, 3), 255, dtype=torch.uint8)
    config = AugmentConfig(
        stain_scale=0.5, stain_shift=0, brightness=0, contrast=0, blur=0, warp=0, white=0, blank=0
    )
    pixels, _ = augment(
        glass, torch.zeros(8, dtype=torch.int64), 50, config, torch.Generator().manual_seed(0)
    )
    assert pixels.min() == pytest.approx(1)


def test_a_blanked_tile_is_empty_and_no_tumour():
    config = AugmentConfig(
        stain_scale=0, stain_shift=0, brightness=0, contrast=0, blur=0, warp=0, white=0, blank=1
    )
    pixels, label = run(config)
    assert (label == 0).all()
    assert pixels.min() > 0.8
    assert pixels.std(axis=(2, 3)).max() < 0.02


def test_a_blanked_tile_is_of_the_class_that_is_named():
    rgb, label = make_batch(8)
    config = AugmentConfig(blank=1, blank_class="normal")
    _, learned = augment(rgb, label, 50, config, torch.Generator().manual_seed(0), blank_label=2)
    assert learned.tolist() == [2] * 8


def test_white_covers_one_side_and_never_more_than_three_fifths():
    config = AugmentConfig(
        stain_scale=0, stain_shift=0, brightness=0, contrast=0, blur=0, warp=0, white=1, blank=0
    )
    pixels, label = run(config)
    white = (pixels == 1).all(axis=1)
    lines = np.maximum(white.all(axis=1).sum(axis=1), white.all(axis=2).sum(axis=1))
    assert lines.max() <= 30
    assert (lines > 0).mean() > 0.9
    assert (label == 1).all()


def test_a_warp_keeps_the_middle_and_blur_keeps_the_mean():
    ramp = torch.full((16, 50, 50, 3), 40, dtype=torch.uint8)
    ramp[:, 20:30, 20:30] = 200
    config = AugmentConfig(
        stain_scale=0, stain_shift=0, brightness=0, contrast=0, blur=0.7, warp=1, white=0, blank=0
    )
    pixels, _ = augment(
        ramp, torch.ones(16, dtype=torch.int64), 50, config, torch.Generator().manual_seed(0)
    )
    assert pixels[:, :, 25, 25].min() > 0.7
    assert pixels[:, :, 3, 3].max() < 0.2
    assert len({one.numpy().tobytes() for one in pixels}) == 16
