"""Trained recipes on the same patients, as a table.

    wsi train RECIPE --data DATA --out RUNS        (each of them)
    python -m benchmarks.recipes RUNS DATA [--part test] [--json FILE]

Every finished run in RUNS is scored on that part of the split, of IDC tiles on those patients alone
that the split lists as sampled; intervals are over the same resamples of patients. With more than
two classes AUC and F1 are means over the classes. What a run cost is read off its card, what the
authors of a reproduced system report off its recipe.
"""

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.record import write_record
from models.card import ModelCard, read_card
from models.errors import ModelError
from models.evaluate import Assessment, ScoredModel, assess
from models.evaluation.selection import Selection, select_pictures
from models.metrics import Interval
from models.recipe import read_recipe

__all__ = ["choose_pictures", "find_runs", "main", "make_table"]

COLUMNS = {
    "auc": "AUC",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "accuracy": "accuracy",
    "ece": "ECE",
}
HEAD = ("recipe", "start", "parameters (learning)", "epochs", "training")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--part", default="test", choices=["validation", "test"])
    parser.add_argument("--magnification", type=int, help="only pictures of this one (BreakHis)")
    parser.add_argument("--subtypes", action="store_true", help="eight classes (BreakHis)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cards = find_runs(options.runs)
    selection = choose_pictures(
        options.data,
        options.part,
        magnification=options.magnification,
        subtypes=options.subtypes,
    )
    found = assess(cards, selection)
    print(make_table([read_card(card) for card in cards], found))
    if options.json:
        write_record(options.json, {"recipes": [asdict(one.evaluation) for one in found.models]})


def choose_pictures(
    data: Path, part: str, *, magnification: int | None = None, subtypes: bool = False
) -> Selection:
    """In the published IDC set every patient is complete: the list says who was sampled here."""
    selection = select_pictures(data, part=part, magnification=magnification, subtypes=subtypes)
    split, pictures = selection.split, selection.pictures
    if split is None or not pictures.is_idc:
        return selection
    sampled = split.patients(part, complete=False)
    return replace(selection, pictures=pictures.of_patients(sampled))


def find_runs(runs: Path) -> list[Path]:
    """Cards of the runs that came to their end, by name. Raises ModelError where there is none."""
    cards = [path for path in sorted(runs.glob("*/*.json")) if path.stem == path.parent.name]
    if not cards:
        raise ModelError(
            f"{runs} has no finished run; train one: wsi train RECIPE --data DATA --out {runs}"
        )
    return cards


def make_table(cards: list[ModelCard], found: Assessment) -> str:
    """Markdown: a row a run, the one with the largest AUC first."""
    rows = sorted(zip(cards, found.models, strict=True), key=_auc, reverse=True)
    lines = [[*HEAD, *COLUMNS.values(), "its authors report"], ["---"] * (len(HEAD) + 6)]
    lines += [_row(card, one) for card, one in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _auc(row: tuple[ModelCard, ScoredModel]) -> float:
    return _figure(row[1], "auc").value


def _row(card: ModelCard, one: ScoredModel) -> list[str]:
    training: dict[str, Any] = dict(card.metrics.get("training", {}))
    return [
        card.name,
        str(training.get("start", "")).rstrip("."),
        f"{training.get('parameters', 0) / 1e6:.1f} M "
        f"({training.get('learning_parameters', 0) / 1e6:.2f} M)",
        str(training.get("epochs", "")),
        f"{training.get('seconds', 0) / 60:.0f} min",
        *(_with_interval(_figure(one, name)) for name in COLUMNS),
        _reported(card.name),
    ]


def _figure(one: ScoredModel, name: str) -> Interval:
    """Of several classes the mean over them."""
    figures = one.evaluation.metrics
    return figures[name] if name in figures else figures[f"macro_{name}"]


def _with_interval(figure: Interval) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def _reported(name: str) -> str:
    try:
        return read_recipe(name).reported
    except ModelError:  # a recipe of the user's own
        return ""


if __name__ == "__main__":
    main()
