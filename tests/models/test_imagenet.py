from pathlib import Path

import pytest
import torch

from models.card import file_sha256
from models.checkpoint import load_backbone
from models.errors import WeightsError
from models.imagenet import architecture_of, find_imagenet, imagenet_file, import_weights
from models.registry import build
from wsi.errors import InvalidOption


def save_as_torchvision_names_it(architecture: str, folder: Path) -> Path:
    """Random weights under a name with the first digits of the file's own sha256."""
    torch.manual_seed(0)
    state = build(architecture, 1000).state_dict()
    torch.save(state, folder / "new.pth")
    digest = file_sha256(folder / "new.pth")[:8]
    return (folder / "new.pth").rename(folder / f"{architecture}-{digest}.pth")


def test_torchvision_s_files_are_known_by_name():
    assert imagenet_file("resnet18") == "resnet18-f37072fd.pth"
    assert architecture_of("densenet121-a639ec97.pth") == "densenet121"
    assert architecture_of("resnet18-00000000.pth") is None


def test_a_file_of_its_own_name_becomes_weights_beside_it(tmp_path: Path):
    pth = save_as_torchvision_names_it("breakhis-cnn", tmp_path)

    path, sha256 = import_weights(str(pth))

    assert path == pth.with_suffix(".safetensors")
    assert sha256 == file_sha256(path)


def test_torchvision_s_file_goes_where_training_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pth = save_as_torchvision_names_it("efficientnet_b0", tmp_path)
    monkeypatch.setattr(
        "models.imagenet.imagenet_file", lambda name: f"{name}{pth.name.removeprefix(name)}"
    )
    monkeypatch.chdir(tmp_path)

    path, _ = import_weights("efficientnet_b0", folder=tmp_path / "kept")

    assert path == find_imagenet("efficientnet_b0", tmp_path / "kept")
    network = build("efficientnet_b0", 2)
    load_backbone(network, path)
    torch.manual_seed(0)
    expected = build("efficientnet_b0", 1000).state_dict()["features.0.0.weight"]
    assert torch.equal(network.state_dict()["features.0.0.weight"], expected)


def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path):
    pth = save_as_torchvision_names_it("breakhis-cnn", tmp_path)
    renamed = pth.rename(tmp_path / "resnet18-f37072fd.pth")

    with pytest.raises(WeightsError, match="does not begin with f37072fd"):
        import_weights(str(renamed), tmp_path / "out.safetensors")

    assert not (tmp_path / "out.safetensors").exists()


def test_a_name_whose_file_is_not_there_says_which_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(WeightsError, match=r"vgg16-397923af\.pth, which is not in"):
        import_weights("vgg16")


def test_another_stride_takes_the_same_weights(tmp_path: Path):
    (tmp_path / "resnet18.safetensors").write_bytes(b"")

    assert find_imagenet("resnet18-stem1", tmp_path) == tmp_path / "resnet18.safetensors"


def test_densenet_s_old_names_are_read_as_today_s(tmp_path: Path):
    torch.manual_seed(0)
    state = build("densenet121", 1000).state_dict()
    old = {
        name.replace("norm1.", "norm.1.").replace("norm2.", "norm.2.")
        .replace("conv1.", "conv.1.").replace("conv2.", "conv.2."): value
        for name, value in state.items()
        if not name.endswith("num_batches_tracked")
    }  # fmt: skip
    assert "features.denseblock4.denselayer16.conv.2.weight" in old
    torch.save(old, tmp_path / "old.pth", _use_new_zipfile_serialization=False)

    path, _ = import_weights(str(tmp_path / "old.pth"))
    network = load_backbone(build("densenet121", 2), path)

    kernel = "features.denseblock4.denselayer16.conv2.weight"
    assert torch.equal(network.state_dict()[kernel], state[kernel])


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_the_file_that_is_imported_is_never_replaced(tmp_path: Path, name: str):
    source = tmp_path / name
    torch.save({"a": torch.zeros(2)}, source)
    before = source.read_bytes()

    with pytest.raises(InvalidOption, match="is read for it, and would be lost"):
        import_weights(str(source), source if name == "w.pth" else None)

    assert source.read_bytes() == before
