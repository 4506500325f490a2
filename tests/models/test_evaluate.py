import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from models.card import write_card
from models.datasets import decoded, open_data
from models.datasets.stratification import draw_stratified
from models.errors import DatasetError, ModelError
from models.evaluate import Evaluation, assess, evaluate, select_pictures
from models.metrics import Interval
from models.painted import MeanChannelClassifier, painted_card
from models.recipe import DataConfig
from models.split import PatientRow, Split, write_split
from tests.models.labelled import make_tiles, write_packed, write_published
from tests.models.pictures import write_bach, write_picture


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Dark tiles are class 1, so brightness is the wrong way round: AUC near 0."""
    card = replace(painted_card(), classes=("non_idc", "idc"), positive_class="idc")
    write_card(card, tmp_path / "painted.json")
    return tmp_path / "painted.json"


def write_parts(path: Path, parts: dict[str, str]) -> Path:
    rows = tuple(PatientRow(patient, part, False, 8, 4) for patient, part in parts.items())
    write_split(Split(0, "by hand", "train", rows), path)
    return path


def test_metrics_are_those_of_scikit_learn_on_the_classifiers_scores(tmp_path: Path, model: Path):
    tiles = make_tiles(per_class=5, seed=3)
    rng = np.random.default_rng(0)
    noisy = rng.integers(60, 200, (len(tiles), 1, 1, 1)) * np.ones((1, 50, 50, 3))
    tiles = type(tiles)(
        noisy.astype(np.uint8), tiles.label, tiles.patient, tiles.xy, tiles.complete
    )
    prob = MeanChannelClassifier(painted_card()).predict(tiles.rgb)[:, 1]

    found = evaluate(model, write_published(tiles, tmp_path / "data"), device="cpu", rounds=50)

    predicted = prob >= 0.5
    expected = {
        "auc": metrics.roc_auc_score(tiles.label, prob),
        "average_precision": metrics.average_precision_score(tiles.label, prob),
        "balanced_accuracy": metrics.balanced_accuracy_score(tiles.label, predicted),
        "f1": metrics.f1_score(tiles.label, predicted),
        "accuracy": metrics.accuracy_score(tiles.label, predicted),
    }
    assert {name: found.metrics[name].value for name in expected} == pytest.approx(expected)
    np.testing.assert_array_equal(found.confusion, metrics.confusion_matrix(tiles.label, predicted))
    assert "ece" in found.metrics


def test_intervals_hold_the_value(tmp_path: Path, model: Path):
    found = evaluate(model, write_published(make_tiles(), tmp_path / "data"), rounds=50)

    assert all(one.low <= one.value <= one.high for one in found.metrics.values())


def test_predictions_are_made_at_the_cards_threshold(tmp_path: Path):
    card = painted_card()
    folder = write_published(make_tiles(per_class=3), tmp_path / "data")
    (tmp_path / "low.json").write_text(json.dumps(card.to_json() | {"threshold": 0.01}))
    (tmp_path / "high.json").write_text(json.dumps(card.to_json() | {"threshold": 0.99}))

    low = evaluate(tmp_path / "low.json", folder, rounds=5)
    high = evaluate(tmp_path / "high.json", folder, rounds=5)

    assert low.confusion == ((0, 12), (0, 12))
    assert high.confusion == ((12, 0), (12, 0))


def test_the_confusion_matrix_names_both_classes(tmp_path: Path):
    folder = write_published(make_tiles(per_class=3), tmp_path / "data")
    (tmp_path / "high.json").write_text(json.dumps(painted_card().to_json() | {"threshold": 0.99}))

    lines = evaluate(tmp_path / "high.json", folder, rounds=5).to_text().splitlines()

    table = [line.split() for line in lines if "predicted" in line or "truly" in line]
    assert table == [
        ["predicted", "rest", "predicted", "painted"],
        ["truly", "rest", "12", "0"],
        ["truly", "painted", "12", "0"],
    ]


def of_the_split(found: Evaluation) -> list[str]:
    return [warning for warning in found.warnings if "so few patients" not in warning]


def test_few_patients_are_warned_of(tmp_path: Path, model: Path):
    for count, is_warned in ((9, True), (10, False)):
        patients = tuple(f"p{i}" for i in range(count))
        folder = write_published(make_tiles(patients=patients, per_class=1), tmp_path / str(count))
        warnings = evaluate(model, folder, rounds=5).warnings
        assert any(f"so few patients ({count})" in text for text in warnings) == is_warned


def test_a_part_holds_only_its_own_patients(tmp_path: Path, model: Path):
    folder = write_published(make_tiles(patients=("1", "2", "3")), tmp_path / "data")
    split = write_parts(tmp_path / "split.json", {"1": "train", "2": "validation", "3": "test"})

    found = evaluate(model, folder, part="test", split=split, rounds=5)

    assert (found.patients, found.tiles, found.patients_of) == (1, 8, {"test": 1})
    assert of_the_split(found) == []


def test_patients_that_served_training_are_warned_of(tmp_path: Path, model: Path):
    folder = write_published(make_tiles(patients=("1", "2", "3")), tmp_path / "data")
    split = write_parts(tmp_path / "split.json", {"1": "train", "2": "test"})

    found = evaluate(model, folder, split=split, rounds=5)

    assert found.patients_of == {"train": 1, "test": 1, "unlisted": 1}
    assert "1 of 3 patients" in of_the_split(found)[0]
    assert "warning: 1 of 3 patients" in found.to_text()


def test_patients_in_no_part_are_evaluated_without_a_warning(tmp_path: Path, model: Path):
    folder = write_published(make_tiles(patients=("new-a", "new-b")), tmp_path / "data")

    found = evaluate(model, folder, rounds=5)

    assert found.patients_of == {"unlisted": 2}
    assert of_the_split(found) == []


def test_an_evaluation_is_json_and_a_table(tmp_path: Path, model: Path):
    folder = write_published(make_tiles(), tmp_path / "data")

    found = evaluate(model, folder, rounds=5)
    record = json.loads(json.dumps(found.to_json()))

    assert record["model"] == "mean-channel"
    assert record["metrics"]["auc"].keys() == {"value", "low", "high"}
    assert record["confusion"] == [list(row) for row in found.confusion]
    text = found.to_text()
    assert "32 tiles of 4 patients, 50.0% idc" in text
    assert "balanced accuracy" in text
    assert "truly idc" in text


def test_progress_ends_with_all_tiles(tmp_path: Path, model: Path):
    folder = write_published(make_tiles(), tmp_path / "data")
    seen: list[tuple[int, int]] = []

    evaluate(model, folder, rounds=5, progress=lambda done, total: seen.append((done, total)))

    assert seen[-1] == (32, 32)


def test_a_model_of_another_field_of_view_is_refused(tmp_path: Path):
    write_card(painted_card(tile_px=256, mpp=0.5), tmp_path / "other.json")
    folder = write_published(make_tiles(), tmp_path / "data")

    with pytest.raises(ModelError, match=r"256 px at 0\.5 um/px"):
        evaluate(tmp_path / "other.json", folder)


@pytest.mark.parametrize(("part", "message"), [("exam", "use train"), ("test", "no patient of")])
def test_a_part_that_is_not_there_is_a_clear_error(
    part: str, message: str, tmp_path: Path, model: Path
):
    folder = write_published(make_tiles(patients=("a", "b")), tmp_path / "data")

    with pytest.raises(DatasetError, match=message):
        evaluate(model, folder, part=part)


def test_an_empty_folder_is_a_clear_error(tmp_path: Path, model: Path):
    (tmp_path / "empty").mkdir()

    with pytest.raises(DatasetError, match="empty"):
        evaluate(model, tmp_path / "empty")


def test_complete_slides_and_sampled_patients_are_evaluated_apart(tmp_path: Path, model: Path):
    data = write_packed(make_tiles(("1", "2", "3"), complete=("2",)), tmp_path / "data")
    assert evaluate(model, data, complete=True, rounds=10).patients == 1
    sampled = evaluate(model, data, complete=False, rounds=10)
    assert (sampled.patients, sampled.complete_patients) == (2, 0)
    pooled = evaluate(model, data, rounds=10)
    assert any("1 complete slides give 8 of the 24 tiles" in text for text in pooled.warnings)


def test_no_complete_slide_is_a_clear_error(tmp_path: Path, model: Path):
    data = write_published(make_tiles(), tmp_path / "data")
    with pytest.raises(DatasetError, match=r"no complete patient of .*data is there"):
        evaluate(model, data, complete=True)


def write_classes(path: Path, *, threshold: float = 0.5, mpp: float = 0.42) -> Path:
    """A model of the four classes of BACH: the redder, the more invasive."""
    card = replace(
        painted_card(32, mpp),
        name=path.stem,
        classes=("normal", "benign", "in_situ", "invasive"),
        positive_class="invasive",
        threshold=threshold,
    )
    write_card(card, path)
    return path


def test_of_four_classes_the_largest_wins_and_each_has_its_figures(tmp_path: Path):
    write_bach(tmp_path / "bach", per_class=3)
    found = evaluate(write_classes(tmp_path / "four.json"), tmp_path / "bach", rounds=5)
    assert found.threshold is None
    assert found.classes == ("normal", "benign", "in_situ", "invasive")
    assert [sum(row) for row in found.confusion] == [3, 3, 3, 3]
    assert found.cut_tiles == 12 * 4  # 64 x 48 px in tiles of 32
    assert found.tile_metrics.keys() == found.metrics.keys()
    assert found.by_class["benign"].keys() == {
        "precision", "recall", "f1", "auc", "average_precision"
    }  # fmt: skip
    assert "12 pictures: 3 normal, 3 benign, 3 in_situ, 3 invasive" in found.to_text()


def write_two_tiles(path: Path, left: int, right: int) -> None:
    """64 x 32 px: two tiles of 32, each of one red."""
    rgb = np.zeros((32, 64, 3), np.uint8)
    rgb[:, :32, 0], rgb[:, 32:, 0] = left, right
    write_picture(path, rgb)


def test_pictures_that_are_cut_up_have_figures_by_picture_and_by_tile(tmp_path: Path):
    """Probabilities of tiles 0.2 and 0.9 (benign), 0.4 and 0.9 (malignant): means 0.55 and 0.65. At
    0.6 both pictures are right, and of each the tile at 0.9, or not, is wrong."""
    write_two_tiles(tmp_path / "set" / "SOB_B_A-14-1001-40-001.png", 51, 230)
    write_two_tiles(tmp_path / "set" / "SOB_M_DC-14-2001-40-001.png", 102, 230)
    card = replace(
        painted_card(32, 0.49), classes=("benign", "malignant"), positive_class="malignant",
        threshold=0.6,
    )  # fmt: skip
    write_card(card, tmp_path / "painted.json")

    found = evaluate(tmp_path / "painted.json", tmp_path / "set", rounds=5)

    assert (found.tiles, found.cut_tiles, found.is_tiles) == (2, 4, False)
    assert found.metrics["accuracy"].value == 1
    assert found.tile_metrics["accuracy"].value == 0.5
    assert found.tile_metrics["recall"].value == 0.5
    assert found.tile_metrics.keys() == found.metrics.keys()
    assert "by tile: 4 tiles of these pictures" in found.to_text()


def test_tiles_that_are_taken_as_they_are_have_one_set_of_figures(tmp_path: Path, model: Path):
    found = evaluate(model, write_published(make_tiles(), tmp_path / "data"), rounds=5)

    assert (found.cut_tiles, found.tile_metrics) == (0, {})
    assert "by tile" not in found.to_text()


def test_where_patients_are_not_known_intervals_are_over_pictures(tmp_path: Path):
    write_bach(tmp_path / "bach", per_class=3)
    found = evaluate(write_classes(tmp_path / "four.json"), tmp_path / "bach", rounds=5)
    assert found.unit == "pictures"
    assert "95 % interval over pictures" in found.to_text()
    assert any("does not say of which patient" in warning for warning in found.warnings)


def test_the_part_of_a_set_without_a_split_is_that_of_the_recipes(tmp_path: Path):
    write_bach(tmp_path / "bach", per_class=6)
    store = decoded(open_data(tmp_path / "bach"), tmp_path / "store", how="tiles", px=32)
    asked = DataConfig()
    drawn = draw_stratified(store.pictures, asked.split_seed, tolerance=1.0)

    found = select_pictures(tmp_path / "bach", part="test")

    assert found.pictures.patients == drawn.patients("test")
    assert "seed 0" in str(found.split_name)


def test_models_are_compared_on_the_same_resamples(tmp_path: Path, model: Path):
    folder = write_published(make_tiles(), tmp_path / "data")
    found = assess([model, model], select_pictures(folder), rounds=20)
    assert [one.name for one in found.models] == ["mean-channel", "mean-channel (2)"]
    assert {one.interval for one in found.differences} == {Interval(0.0, 0.0, 0.0)}
    assert "mean-channel (2) less mean-channel" in found.to_text()
    assert found.to_json().keys() == {"models", "differences"}


def test_a_higher_threshold_finds_fewer_and_the_difference_says_so(tmp_path: Path):
    """Pale tiles, red 230, are class 0 and over both thresholds; dark ones, red 120, over one."""
    for name, threshold in (("low", 0.3), ("high", 0.7)):
        card = replace(
            painted_card(), name=name, threshold=threshold, classes=("non_idc", "idc"),
            positive_class="idc",
        )  # fmt: skip
        write_card(card, tmp_path / f"{name}.json")
    selection = select_pictures(write_published(make_tiles(), tmp_path / "data"))
    found = assess([tmp_path / "low.json", tmp_path / "high.json"], selection, rounds=20)
    recall = next(one for one in found.differences if one.figure == "recall")
    auc = next(one for one in found.differences if one.figure == "auc")
    assert (recall.interval.value, recall.is_clear) == (-1.0, True)
    assert (auc.interval.value, auc.is_clear) == (0.0, False)


def test_models_with_other_positive_classes_are_not_compared(tmp_path: Path):
    for positive in ("non_idc", "idc"):
        card = replace(
            painted_card(), name=positive, classes=("non_idc", "idc"), positive_class=positive
        )
        write_card(card, tmp_path / f"{positive}.json")
    selection = select_pictures(write_published(make_tiles(), tmp_path / "data"))
    with pytest.raises(DatasetError, match="evaluate them apart"):
        assess([tmp_path / "non_idc.json", tmp_path / "idc.json"], selection, rounds=5)


def test_classes_that_do_not_fit_are_one_sentence(tmp_path: Path, model: Path):
    write_bach(tmp_path / "bach")
    with pytest.raises(DatasetError, match="knows the classes non_idc, idc, the set has"):
        evaluate(model, tmp_path / "bach", rounds=5)
