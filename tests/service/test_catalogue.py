"""Which models clients may ask for."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from models.card import write_card
from models.ensemble.members import Member
from models.errors import UnknownModel, UntrustedCode
from models.painted import painted_card
from service.catalogue import Catalogue
from service.errors import InvalidRequest
from service.settings import Settings
from service.web.resources import Resources
from tests.service.painted import write_model


def test_default_comes_first_and_others_by_their_cards_names(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "some-folder")
    catalogue = Catalogue.from_settings(Settings(models=(folder,)))
    assert [offered.card.name for offered in catalogue] == ["idc-resnet18", "mean-channel"]
    assert catalogue.get(None).card.name == "idc-resnet18"
    assert catalogue.get("mean-channel").address == folder
    assert catalogue.name_from_address(folder) == "mean-channel"


def test_address_holds_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker may have been started elsewhere."""
    folder = write_model(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    catalogue = Catalogue.from_settings(Settings(model="model"))
    assert catalogue.get(None).address == folder


def test_shipped_model_keeps_its_name() -> None:
    assert Catalogue.from_settings(Settings()).get(None).address == "idc-resnet18"


@pytest.mark.parametrize("name", ["nobody", "", "../idc-resnet18", "/etc/passwd"])
def test_model_that_is_not_listed_is_unknown(name: str) -> None:
    with pytest.raises(UnknownModel, match="idc-resnet18"):
        Catalogue.from_settings(Settings()).get(name)


def test_setting_that_names_no_model_fails_at_the_start() -> None:
    with pytest.raises(UnknownModel):
        Catalogue.from_settings(Settings(model="nobody"))


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    folders = tuple(write_model(tmp_path / name) for name in ("a", "b"))
    with pytest.raises(InvalidRequest, match="mean-channel"):
        Catalogue.from_settings(Settings(models=folders))


def test_torchscript_is_never_offered(tmp_path: Path) -> None:
    folder = Path(write_model(tmp_path / "model"))
    card = json.loads((folder / "card.json").read_text())
    card |= {"architecture": "somebodys-own", "name": "foreign"}
    (folder / "card.json").write_text(json.dumps(card))
    (folder / "torchscript_model.pt").write_bytes(b"code")
    with pytest.raises(UntrustedCode, match="--trust-code"):
        Catalogue.from_settings(Settings(models=(str(folder),)))


def test_an_ensemble_is_shown_without_the_names_of_its_files(tmp_path: Path) -> None:
    members = [
        Member("net", "resnet18", "net.safetensors", "0" * 64, input_px=50),
        Member("svm", "svm", "secret.skops", "1" * 64),
    ]
    for member in members:
        (tmp_path / member.file).touch()
    card = replace(painted_card(), name="both", architecture="ensemble", members=tuple(members))
    write_card(card, tmp_path / "card.json")

    catalogue = Catalogue.from_settings(Settings(model=str(tmp_path)))
    shown = Resources(catalogue, "", float).model(catalogue.get(None)).model_dump()

    assert [member["name"] for member in shown["members"]] == ["net", "svm"]
    assert shown["members"][1] == {"name": "svm", "architecture": "svm", "sha256": "1" * 64}
    assert "secret" not in str(shown)
