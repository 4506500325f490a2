"""How the tiles' probabilities are spread, as an SVG drawing."""

import numpy as np
from numpy.typing import NDArray

from wsi.render import Style, colormap

__all__ = ["BINS", "count_bins", "draw_histogram"]

BINS = 50
WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 34, 46  # margins


def count_bins(prob: NDArray[np.float32]) -> NDArray[np.int64]:
    """Tiles in each of BINS equal parts of 0..1, a border belonging to the upper part: (BINS,)."""
    at = np.clip((prob.astype(np.float64) * BINS).astype(np.int64), 0, BINS - 1)
    return np.bincount(at, minlength=BINS)


def draw_histogram(prob: NDArray[np.float32], threshold: float, style: Style) -> str:
    """An `<svg>` of (n,) probabilities; the bars have the colours of the map at their middle."""
    counts = count_bins(prob)
    most = _round_up(int(counts.max()))
    above = int((prob >= threshold).sum())
    label = f"{len(prob):,} tiles, {above:,} of them at or above the threshold {threshold:.3g}"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}" '
        'font-family="inherit" font-size="13" fill="currentColor">\n'
        f"{_axes(most)}{_bars(counts, most, style)}{_mark(threshold)}"
        f'<text x="{LEFT}" y="18">{label}</text>\n</svg>\n'
    )


def _x(prob: float) -> float:
    return LEFT + prob * (WIDTH - LEFT - RIGHT)


def _y(count: float, most: int) -> float:
    return HEIGHT - BOTTOM - count / most * (HEIGHT - TOP - BOTTOM)


def _bars(counts: NDArray[np.int64], most: int, style: Style) -> str:
    middles = (np.arange(BINS) + 0.5) / BINS
    steps = np.clip((middles - style.vmin) / (style.vmax - style.vmin) * 256, 0, 255).astype(int)
    colors = colormap(style.colormap)[steps]
    return "".join(
        f'<rect x="{_x(i / BINS):.1f}" y="{_y(count, most):.1f}" width="{_x(1 / BINS) - LEFT:.1f}" '
        f'height="{_y(0, most) - _y(count, most):.1f}" fill="rgb({r},{g},{b})" '
        'stroke="currentColor" stroke-width="0.4"/>\n'
        for i, (count, (r, g, b)) in enumerate(zip(counts.tolist(), colors, strict=True))
        if count
    )


def _axes(most: int) -> str:
    base = _y(0, most)
    parts = [f'<line x1="{LEFT}" y1="{base}" x2="{_x(1)}" y2="{base}" stroke="currentColor"/>\n']
    for prob in (0, 0.2, 0.4, 0.6, 0.8, 1):
        parts.append(f'<text x="{_x(prob):.1f}" y="{base + 18}" text-anchor="middle">{prob}</text>')
    for count in sorted({0, most // 2, most}):
        y = _y(count, most)
        parts.append(
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{count:,}</text>'
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{_x(1)}" y2="{y:.1f}" stroke="currentColor" '
            'stroke-opacity="0.2"/>\n'
        )
    middle = _x(0.5)
    parts.append(f'<text x="{middle}" y="{base + 36}" text-anchor="middle">probability</text>\n')
    return "".join(parts)


def _mark(threshold: float) -> str:
    x = _x(threshold)
    return (
        f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" '
        'stroke="currentColor" stroke-dasharray="4 3"/>\n'
    )


def _round_up(count: int) -> int:
    """The next of 1, 2, 4, 6, 8 or 10 times a power of ten: from 2 on its half is whole too."""
    power: int = 10 ** (len(str(max(count, 1))) - 1)
    nice = (1, 2, 4, 6, 8, 10)
    return next(m for m in (power * n for n in nice) if m >= count)
