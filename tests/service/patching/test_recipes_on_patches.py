"""Patches by the command, and what trains on them."""

import json
from dataclasses import asdict, replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from models.card import read_card
from models.datasets import open_data
from models.recipe import RECIPES, read_recipe, shrunk
from models.train import train
from models.training.parallel import Processes
from models.training.parts import read_parts
from service.cli import app
from service.cli.datasets import patches as patches_command
from service.patch_request import PatchRequest
from tests.models.annotated import (
    make_tissue,
    rectangle,
    region_xml,
    write_drawn,
    write_slide,
)
from tests.models.training_runs import registered
from tests.service.patching.drawn_slides import (
    DRAWN,
    PX,
)


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_the_command_has_the_defaults_of_the_request():
    options = signature(patches_command).parameters
    assert {name: options[name].default for name in asdict(PatchRequest())} == asdict(
        PatchRequest()
    )


def test_the_command_tells_the_counts_to_people_and_to_machines(slides: Path, tmp_path: Path):
    words = ("data", "patches", slides, tmp_path / "out", "--patch-px", PX, "--mask", "none")
    code, text = run(*words)
    assert code == 0
    assert "A01: " in text
    assert "without annotations, left out: 01" in text
    told = json.loads(run(*words, "--json")[1])
    assert told["kept"] is True
    assert told["slides"]["A01"] == told["slides"]["A02"]


BACH_RECIPES = sorted(path.stem for path in RECIPES.glob("bach-*.toml"))


@pytest.mark.parametrize("name", BACH_RECIPES)
def test_every_recipe_for_bach_is_for_the_classes_of_patches(cut: tuple[Path, Any], name: str):
    assert read_recipe(name).classes == open_data(cut[0]).classes


@pytest.mark.slow
def test_a_recipe_trains_on_patches_with_no_slide_on_two_sides(tmp_path: Path):
    for seed in range(1, 6):
        name = f"A{seed:02d}"
        write_slide(tmp_path / f"{name}.svs", make_tissue(2048, 1024, seed))
        spots = zip(DRAWN, (0, 512, 1024), strict=True)
        regions = [region_xml(rectangle(x0, 0, 512, 512), label) for label, x0 in spots]
        write_drawn(tmp_path / f"{name}.xml", regions)
    out = tmp_path / "patches"
    code, _ = run("data", "patches", tmp_path, out, "--quiet")
    assert code == 0
    with registered():
        recipe = shrunk(read_recipe("bach-resnet50", {"architecture": "tiny", "start": "random"}))
        recipe = replace(recipe, data=replace(recipe.data, split="drawn", tolerance=1.0))
        parts = read_parts(recipe, out, tmp_path / "stores", Processes(torch.device("cpu")))
        card = read_card(train(recipe, out, tmp_path / "run", device="cpu"))

    assert not set(parts.training.patients) & set(parts.validation.patients)
    assert parts.split.startswith("By patient;")
    tiles = parts.training.batch(np.arange(2))
    assert tiles.shape == (2, 256, 256, 3)  # a patch is one tile of the recipe
    assert card.classes == ("normal", "benign", "in_situ", "invasive")
    assert card.metrics["training"]["patients"] == len(parts.training.patients)
