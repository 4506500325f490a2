"""An evaluation as one HTML page with its pictures, which also lie beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from models.evaluation import curves
from models.evaluation.comparing import Difference
from models.evaluation.record import LABELS, Evaluation
from models.evaluation.slides import SlideEvaluation
from models.metrics import Interval
from wsi.export.page import escaped, make_page, mapping, section, table, warnings_list
from wsi.store.folder import partial_file

if TYPE_CHECKING:
    from models.evaluate import Assessment, ScoredModel

__all__ = ["PAGE", "write_report"]

PAGE = "evaluation.html"
RECORD = "evaluation.json"
NOTICE = "Research use only. Not a medical device."
RESAMPLES = "In brackets 95 % intervals over {rounds:,} resamples of the {unit}."
CURVES = (
    "ROC and precision-recall curves; the grey lines are guessing. Reliability: on the grey line a "
    "probability is as often true as it says."
)
OF_TILES = (
    "The figures above are of pictures, whose probability is the mean of their tiles'; these are "
    "of the tiles, each with its picture's label, whether it shows the lesion or not."
)
OF_SLIDES = (
    "Each complete patient is put together as a slide and scored as any slide is, tissue mask "
    "included. AUC and AP: of the labelled tiles that were scored. Dice and IoU: at the threshold, "
    "with what was not scored as negative. FROC: connected positive tiles, ranked by their largest "
    "probability; its score is the mean share of the {regions} true regions that is found at ¼, ½, "
    "1, 2, 4 and 8 false regions a slide."
)


STYLE = """
body { max-width: 76rem; } .figures th { white-space: nowrap; } h3 { margin: 1.2rem 0 .4rem; }
.gallery { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr));
  gap: 1.2rem; margin: 1rem 0; align-items: start; }
figure { margin: 0; } figcaption { color: var(--pale); font-size: .9rem; }
figure img { display: block; } figure.wide { grid-column: 1 / -1; max-width: 56rem; }
"""


class Picture(NamedTuple):
    file: str
    title: str
    png: bytes
    is_wide: bool = False


def write_report(
    assessment: Assessment, folder: Path, slides: Sequence[SlideEvaluation] = ()
) -> Path:
    """evaluation.html, which needs no other file, evaluation.json, and the pictures as PNG.

    Each file whole or not at all, the page last; returns its path. Files of these names are
    replaced, others are left alone.
    """
    pictures = list(_pictures(assessment))
    of_slides = list(_slide_pictures(slides))
    record = assessment.to_json()
    if slides:
        record["slides"] = [one.to_json() for one in slides]
    page = _page(assessment, pictures, slides, of_slides)
    for picture in (*pictures, *of_slides):
        _write(folder / picture.file, picture.png)
    _write(folder / RECORD, (json.dumps(record, indent=2, allow_nan=False) + "\n").encode())
    _write(folder / PAGE, page.encode("utf-8"))
    return folder / PAGE


def _write(path: Path, content: bytes) -> None:
    with partial_file(path) as partial:
        partial.write_bytes(content)


def _pictures(assessment: Assessment) -> Iterator[Picture]:
    """Curves with all models, of two classes for the positive one; a confusion matrix each."""
    models = assessment.models
    names = models[0].evaluation.classes
    for i in range(len(names)) if len(names) > 2 else (1,):
        yield from _curves(models, i, f"-{_plain(names[i])}" if len(names) > 2 else "")
    for number, one in enumerate(models, 1):
        counts = np.array(one.evaluation.confusion)
        drawn = curves.draw_confusion(counts, one.evaluation.classes)
        file = "confusion.png" if len(models) == 1 else f"confusion-{number}.png"
        yield Picture(file, f"Confusion: {one.name}", drawn)
    for number, one in enumerate(models, 1):
        if one.history:
            file = "training.png" if len(models) == 1 else f"training-{number}.png"
            drawn = curves.draw_training(one.history, chosen=one.kept_epoch)
            yield Picture(file, f"Training: {one.name}", drawn, is_wide=True)


def _curves(models: Sequence[ScoredModel], i: int, suffix: str) -> Iterator[Picture]:
    label = (models[0].label == i).astype(models[0].label.dtype)
    probs = {one.name: one.prob[:, i] for one in models}
    name = models[0].evaluation.classes[i]
    yield Picture(f"roc{suffix}.png", f"ROC: {name}", curves.draw_roc(label, probs))
    drawn = curves.draw_precision_recall(label, probs)
    yield Picture(f"precision-recall{suffix}.png", f"Precision and recall: {name}", drawn)
    drawn = curves.draw_reliability(label, probs)
    yield Picture(f"reliability{suffix}.png", f"Reliability: {name}", drawn)


def _slide_pictures(slides: Sequence[SlideEvaluation]) -> Iterator[Picture]:
    if slides:
        froc = curves.draw_froc({one.model: one.froc for one in slides})
        yield Picture("froc.png", "FROC: true regions found", froc)
    for number, one in enumerate(slides, 1):
        file = "slides.png" if len(slides) == 1 else f"slides-{number}.png"
        title = f"Labels and heatmaps: {one.model}"
        yield Picture(file, title, curves.draw_slides(one.slides))


def _page(
    assessment: Assessment,
    pictures: Sequence[Picture],
    slides: Sequence[SlideEvaluation],
    of_slides: Sequence[Picture],
) -> str:
    found = [one.evaluation for one in assessment.models]
    first = found[0]
    names = [one.name for one in assessment.models]
    part = f", part {first.part}" if first.part else ""
    body = [
        section("Warnings", warnings_list(line for one in found for line in one.warnings)),
        section("Figures", _figures(names, found)),
        section("Differences", _differences(assessment.differences)),
        section("Curves", f"<p>{CURVES}</p>\n" + _gallery(pictures)),
        section("Classes", "".join(_classes(names, found))),
        section("Complete slides", _slides(slides, of_slides)),
        section("Provenance", "".join(_provenance(one) for one in found)),
    ]
    return make_page(
        heading=escaped(" · ".join(names)),
        title=escaped(f"{', '.join(names)} on {first.data}"),
        lead=escaped(f"On {first.data}{part}: {_sentence(found)}."),
        notice=NOTICE,
        body="".join(body),
        style=STYLE,
    )


def _sentence(found: Sequence[Evaluation]) -> str:
    """Several models have a threshold each: then it is only in their provenance."""
    text = found[0].headline()
    return text if len(found) == 1 else text.split(";")[0]


def _figures(names: Sequence[str], found: Sequence[Evaluation]) -> str:
    first = found[0]
    rows = [
        [_label(figure), *(_interval((one.macro | one.metrics)[figure]) for one in found)]
        for figure in first.metrics | first.macro
    ]
    note = RESAMPLES.format(rounds=first.rounds, unit=first.unit)
    return f"<p>{note}</p>\n" + table(["", *names], rows) + _figures_of_tiles(names, found)


def _figures_of_tiles(names: Sequence[str], found: Sequence[Evaluation]) -> str:
    """Where pictures were cut up: models may cut them differently."""
    cut = [(name, one) for name, one in zip(names, found, strict=True) if one.tile_metrics]
    if not cut:
        return ""
    rows = [["Tiles", *(f"{one.cut_tiles:,}" for _, one in cut)]]
    rows += [
        [_label(figure), *(_interval(one.tile_metrics[figure]) for _, one in cut)]
        for figure in cut[0][1].tile_metrics
    ]
    return f"<h3>By tile</h3>\n<p>{OF_TILES}</p>\n" + table(["", *(name for name, _ in cut)], rows)


def _differences(differences: Sequence[Difference]) -> str:
    if not differences:
        return ""
    rows = [
        (
            one.model,
            _label(one.figure),
            _signed(one.interval.value),
            f"{_signed(one.interval.low)} to {_signed(one.interval.high)}",
            "yes" if one.is_clear else "no",
            f"{100 * one.favours:.0f} %",
        )
        for one in differences
    ]
    against = escaped(differences[0].against)
    note = f"Less {against}, paired: on the same resamples. Clear: the interval leaves out zero."
    head = ("", "Figure", "Difference", "95 % interval", "Clear", "Resamples with more")
    return f"<p>{note}</p>\n" + table(head, rows)


def _classes(names: Sequence[str], found: Sequence[Evaluation]) -> Iterator[str]:
    for model, one in zip(names, found, strict=True):
        figures = list(next(iter(one.by_class.values())))
        rows = [
            [name, f"{one.support[name]:,}", *(_interval(values[f]) for f in figures)]
            for name, values in one.by_class.items()
        ]
        if len(found) > 1:
            yield f"<h3>{escaped(model)}</h3>\n"
        yield table(["Class", "Number", *map(_title, figures)], rows)


def _slides(slides: Sequence[SlideEvaluation], pictures: Sequence[Picture]) -> str:
    if not slides:
        return ""
    parts = [f"<p>{OF_SLIDES.format(regions=slides[0].froc.regions)}</p>\n"]
    head = ("Slide", "Labelled", "Scored", "Positive", "AUC", "AP", "Dice", "IoU")
    for one in slides:
        keys = ("patient", "labelled", "scored", "positives", *one.means())
        rows = [[_cell(row[key]) for key in keys] for row in one.rows()]
        rows.append(["mean", "", "", "", *map(_cell, one.means().values())])
        parts += [f"<h3>{escaped(one.model)}</h3>\n", table(head, rows)]
    return "".join(parts) + "".join(_gallery([one]) for one in pictures)


def _provenance(one: Evaluation) -> str:
    return mapping(
        {
            "Model": f"{one.model} {one.version}",
            "Card, SHA-256": one.card_sha256,
            "Weights, SHA-256": one.weights_sha256,
            "Computed on": one.device,
            "Threshold": one.threshold if one.threshold is not None else "none: the largest wins",
            "Data": one.data,
            "Part": one.part or "all",
            "Split": one.split,
            "Patients by part": one.patients_of if one.patients_known else None,
        }
    )


def _gallery(pictures: Sequence[Picture]) -> str:
    figures = "".join(
        f'<figure class="{"wide" if one.is_wide else "narrow"}">'
        f'<img src="data:image/png;base64,{base64.b64encode(one.png).decode("ascii")}" '
        f'alt="{escaped(one.title)}"><figcaption>{escaped(one.title)}</figcaption></figure>\n'
        for one in pictures
    )
    return f'<div class="gallery">\n{figures}</div>\n'


def _interval(one: Interval) -> str:
    return f"{one.value:.3f} ({one.low:.3f}–{one.high:.3f})"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def _label(figure: str) -> str:
    text = LABELS.get(figure, figure)
    return text[0].upper() + text[1:]


def _title(figure: str) -> str:
    return "AP" if figure == "average_precision" else _label(figure)


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower())
