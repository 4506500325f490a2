"""Curves of an evaluation as pictures (PNG bytes).

Curves are scikit-learn's. Several models in one picture are told apart by colour and by dashes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from models.evaluation.regions import Froc
    from models.evaluation.slides import ScoredSlide

__all__ = [
    "History",
    "draw_confusion",
    "draw_froc",
    "draw_precision_recall",
    "draw_reliability",
    "draw_roc",
    "draw_slides",
    "draw_training",
]

History = Mapping[str, Sequence[float | None]]
Labels = NDArray[np.int64]
Probs = NDArray[np.floating]

# Okabe & Ito's colours, which people without full colour vision tell apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
SIDE_IN, DPI = 4.4, 130
BINS = 15
SLIDES_A_ROW = 5


def draw_roc(label: Labels, models: Mapping[str, Probs]) -> bytes:
    """label: 0 or 1; models: by name, the probability of 1, float (n,)."""
    from sklearn.metrics import roc_auc_score, roc_curve

    figure, axes = _square("false positive rate", "true positive rate (recall)")
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
    for (name, prob), (colour, dash) in zip(models.items(), _styles(), strict=False):
        fallout, recall, _ = roc_curve(label, prob)
        text = f"{name}: AUC {roc_auc_score(label, prob):.3f}"
        axes.plot(fallout, recall, dash, color=colour, label=text)
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    return _png(figure)


def draw_precision_recall(label: Labels, models: Mapping[str, Probs]) -> bytes:
    """The grey line is the share of positives: what guessing gets."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    figure, axes = _square("recall", "precision")
    axes.axhline(float(label.mean()), color="0.8", linewidth=1)
    for (name, prob), (colour, dash) in zip(models.items(), _styles(), strict=False):
        precision, recall, _ = precision_recall_curve(label, prob)
        text = f"{name}: AP {average_precision_score(label, prob):.3f}"
        axes.step(recall, precision, dash, color=colour, where="post", label=text)
    axes.legend(loc="lower left", fontsize=8, frameon=False)
    return _png(figure)


def draw_reliability(label: Labels, models: Mapping[str, Probs]) -> bytes:
    """How often it is true against how probable it was said to be, over equally full bins, as the
    calibration error counts them; below, how many have which probability."""
    figure, (axes, below) = _two_rows()
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
    for (name, prob), (colour, dash) in zip(models.items(), _styles(), strict=False):
        parts = np.array_split(np.argsort(prob, kind="stable"), min(BINS, len(prob)))
        said = [float(prob[part].mean()) for part in parts]
        true = [float(label[part].mean()) for part in parts]
        axes.plot(said, true, dash, marker="o", markersize=3.5, color=colour, label=name)
        below.hist(prob, np.linspace(0, 1, 26).tolist(), histtype="step", color=colour)
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="how often it is true")
    axes.legend(loc="upper left", fontsize=8, frameon=False)
    below.set(xlabel="probability", ylabel="how many", yscale="log")
    below.yaxis.set_major_formatter("{x:.0f}")
    below.yaxis.set_minor_formatter("")
    return _png(figure)


def draw_confusion(counts: NDArray[np.int64], names: Sequence[str]) -> bytes:
    """counts: (classes, classes), rows are the truth. Shade: the share of the row."""
    side = max(SIDE_IN, 1.0 + 0.75 * len(names))
    figure, axes = _figure(side, side)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{counts[row, column]:,}\n{share:.0%}"
        ink = "white" if share > 0.55 else "black"
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=9)
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=30 if len(names) > 2 else 0, fontsize=9)
    axes.set_yticks(ticks, names, fontsize=9)
    axes.set(xlabel="predicted", ylabel="truly")
    return _png(figure)


def draw_froc(models: Mapping[str, Froc]) -> bytes:
    figure, axes = _figure(SIDE_IN, SIDE_IN)
    for (name, froc), (colour, dash) in zip(models.items(), _styles(), strict=False):
        text = f"{name}: score {froc.score:.3f}"
        false, found = [0, *froc.false_a_slide.tolist()], [0, *froc.sensitivity.tolist()]
        axes.step(false, found, dash, where="post", color=colour, label=text)
    axes.set(xlabel="false regions a slide", ylabel="true regions found", ylim=(0, 1.02))
    axes.set_xlim(left=0)
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    return _png(figure)


def draw_training(history: History, *, chosen: int | None = None) -> bytes:
    """history: by name, a number an epoch (None where it was not measured). Names with "loss" are
    drawn on the left, on a scale of powers, all others on the right. chosen: the epoch, from 1,
    whose weights were kept."""
    from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter

    figure = _blank(2 * SIDE_IN, SIDE_IN)
    losses, others = figure.subplots(1, 2)
    for (name, values), (colour, dash) in zip(history.items(), _styles(), strict=False):
        numbers = np.asarray(values, np.float64)
        known = np.isfinite(numbers)
        epochs = np.flatnonzero(known) + 1
        axes = losses if "loss" in name else others
        axes.plot(epochs, numbers[known], dash, color=colour, label=name)
    for axes in (losses, others):
        if not axes.lines:
            axes.set_axis_off()
            continue
        if chosen is not None:
            axes.axvline(chosen, color="0.6", linewidth=1, label=f"kept: epoch {chosen}")
        axes.set_xlabel("epoch")
        axes.set_xlim(left=1)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=8, frameon=False)
    losses.set(ylabel="loss", yscale="log")
    losses.yaxis.set_major_locator(MaxNLocator(6))
    losses.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    losses.yaxis.set_minor_formatter(NullFormatter())
    others.set_ylim(top=1)
    return _png(figure)


def draw_slides(slides: Sequence[ScoredSlide]) -> bytes:
    """Labels above, heatmap below, a column a slide; grey where there is none. No tissue."""
    columns = min(len(slides), SLIDES_A_ROW)
    bands = -(-len(slides) // columns)
    figure = _blank(2.2 * columns + 1.0, 4.6 * bands)
    shapes = [slide.truth.shape for slide in slides]
    width = [max(w / h for h, w in shapes[i::columns]) for i in range(columns)]
    axes = figure.subplots(2 * bands, columns, squeeze=False, width_ratios=width)
    for axis in axes.flat:
        axis.set_axis_off()
    for i, slide in enumerate(slides):
        band, column = divmod(i, columns)
        upper, lower = axes[2 * band][column], axes[2 * band + 1][column]
        for axis, cells in ((upper, slide.truth), (lower, slide.prob)):
            shown = axis.imshow(cells, vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
            axis.set(xticks=[], yticks=[], facecolor="0.92")
            axis.set_axis_on()
        upper.set_title(f"{slide.patient}\nAUC {slide.ranking[0]:.3f}", fontsize=9)
        if column == 0:
            upper.set_ylabel("labels", fontsize=9)
            lower.set_ylabel("probability", fontsize=9)
    figure.colorbar(shown, ax=axes, shrink=0.6, pad=0.01)
    return _png(figure)


def _styles() -> zip[tuple[str, str]]:
    return zip(cycle(COLOURS), cycle(DASHES), strict=False)


def _square(x: str, y: str) -> tuple[Figure, Axes]:
    figure, axes = _figure(SIDE_IN, SIDE_IN)
    axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    return figure, axes


def _two_rows() -> tuple[Figure, tuple[Axes, Axes]]:
    figure = _blank(SIDE_IN, 1.25 * SIDE_IN)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    return figure, (upper, lower)


def _figure(width_in: float, height_in: float) -> tuple[Figure, Axes]:
    figure = _blank(width_in, height_in)
    return figure, figure.subplots()


def _blank(width_in: float, height_in: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width_in, height_in), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
