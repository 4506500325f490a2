import pytest

from benchmarks.variants import VARIANTS, make_variant
from models.registry import MODELS


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_the_default_recipe_with_a_change(name: str) -> None:
    short, variant = make_variant("short"), make_variant(name)
    assert variant.name == name
    assert variant.architecture in MODELS
    changed = variant.to_json().replace(f'"{name}"', '"short"')
    assert (changed == short.to_json()) == (name == "short")
