from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from models.card import file_sha256
from models.checkpoint import (
    import_state_dict,
    load_backbone,
    load_weights,
    read_weights,
    save_weights,
)
from models.errors import WeightsError

CLASSES = ("non_idc", "idc")


def make_small(classes: int = 2, seed: int = 0) -> nn.Sequential:
    """Three layers, the last with a row for each class."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, classes))


def test_weights_come_back_as_float32_within_the_precision_of_float16(tmp_path: Path):
    saved = make_small(seed=1)
    sha256 = save_weights(saved, tmp_path / "w.safetensors", classes=CLASSES)

    loaded = load_weights(make_small(seed=2), tmp_path / "w.safetensors", sha256, CLASSES)

    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == saved.state_dict()[name].dtype
        torch.testing.assert_close(tensor, saved.state_dict()[name], rtol=2**-11, atol=1e-7)


def test_float32_weights_come_back_exactly(tmp_path: Path):
    saved = make_small(seed=1)
    save_weights(saved, tmp_path / "w.safetensors", dtype=torch.float32)

    loaded = load_weights(make_small(seed=2), tmp_path / "w.safetensors", None, CLASSES)

    assert all(torch.equal(loaded.state_dict()[k], v) for k, v in saved.state_dict().items())


def test_saving_gives_the_sha256_of_the_file_and_leaves_nothing_else(tmp_path: Path):
    sha256 = save_weights(make_small(), tmp_path / "w.safetensors")

    assert sha256 == file_sha256(tmp_path / "w.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_equal_weights_are_equal_files(tmp_path: Path):
    one = save_weights(make_small(), tmp_path / "a.safetensors", classes=CLASSES)
    two = save_weights(make_small(), tmp_path / "b.safetensors", classes=CLASSES)

    assert one == two


def test_a_value_beyond_float16_is_refused_by_name(tmp_path: Path):
    network = make_small()
    network[1].running_var.fill_(1e6)

    with pytest.raises(WeightsError, match=r"1\.running_var.*1e\+06"):
        save_weights(network, tmp_path / "w.safetensors")

    assert not list(tmp_path.iterdir())


def test_other_bytes_than_the_pinned_ones_are_refused(tmp_path: Path):
    path = tmp_path / "w.safetensors"
    sha256 = save_weights(make_small(), path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    with pytest.raises(WeightsError, match=f"pins {sha256}"):
        load_weights(make_small(), path, sha256, CLASSES)


def test_weights_of_another_number_of_classes_say_both_numbers(tmp_path: Path):
    save_weights(make_small(classes=3), tmp_path / "w.safetensors")

    with pytest.raises(WeightsError, match="answers with 3 classes, but its card has 2"):
        load_weights(make_small(), tmp_path / "w.safetensors", None, CLASSES)


def test_classes_in_another_order_are_refused(tmp_path: Path):
    save_weights(make_small(), tmp_path / "w.safetensors", classes=("idc", "non_idc"))

    with pytest.raises(WeightsError, match=r"trained for \['idc', 'non_idc'\]"):
        load_weights(make_small(), tmp_path / "w.safetensors", None, CLASSES)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), "2.bias is missing"),
        (nn.Sequential(nn.Conv2d(3, 4, 5), nn.BatchNorm2d(4), nn.Linear(4, 2)), "0.weight is"),
        (nn.Sequential(*make_small(), nn.Linear(2, 2)), "3.bias is unknown"),
    ],
)
def test_weights_of_another_network_name_the_tensor(other: nn.Module, message: str, tmp_path: Path):
    save_weights(other, tmp_path / "w.safetensors")

    with pytest.raises(WeightsError, match=message):
        load_weights(make_small(), tmp_path / "w.safetensors", None, CLASSES)


@pytest.mark.parametrize("kept", [0, 4, 100, 700])
def test_a_cut_file_is_a_clear_error(kept: int, tmp_path: Path):
    path = tmp_path / "w.safetensors"
    save_weights(make_small(), path)
    path.write_bytes(path.read_bytes()[:kept])

    with pytest.raises(WeightsError, match=r"w\.safetensors is no whole safetensors file"):
        load_weights(make_small(), path, None, CLASSES)


def test_a_missing_file_is_a_clear_error(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"w\.safetensors: the weights cannot be read"):
        load_weights(make_small(), tmp_path / "w.safetensors", None, CLASSES)


def test_a_state_dict_is_imported_as_it_is(tmp_path: Path):
    state = make_small(classes=1000).state_dict()
    torch.save(state, tmp_path / "imagenet.pth")

    sha256 = import_state_dict(tmp_path / "imagenet.pth", tmp_path / "imagenet.safetensors")

    tensors, _ = read_weights(tmp_path / "imagenet.safetensors", sha256)
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_a_wrapped_parallel_state_dict_is_unwrapped(wrapper: str, tmp_path: Path):
    state = {f"module.{name}": tensor for name, tensor in make_small().state_dict().items()}
    torch.save({wrapper: state, "epoch": 3}, tmp_path / "a.pth")

    import_state_dict(tmp_path / "a.pth", tmp_path / "a.safetensors")

    assert read_weights(tmp_path / "a.safetensors")[0].keys() == make_small().state_dict().keys()


def test_tensors_that_share_memory_are_imported_apart(tmp_path: Path):
    weight = torch.arange(6.0).reshape(2, 3)
    torch.save({"a": weight, "b": weight.T}, tmp_path / "a.pth")

    import_state_dict(tmp_path / "a.pth", tmp_path / "a.safetensors")

    tensors, _ = read_weights(tmp_path / "a.safetensors")
    assert tensors["b"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_truncated_state_dict_is_a_clear_error(real_data: Path, tmp_path: Path):
    pth = real_data / "malformed" / "truncated-weights.pth"

    with pytest.raises(WeightsError, match=r"truncated-weights\.pth cannot be read"):
        import_state_dict(pth, tmp_path / "a.safetensors")

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kept", [0, 10, 500, 2000])
def test_a_state_dict_cut_anywhere_is_a_clear_error(kept: int, tmp_path: Path):
    torch.save(make_small().state_dict(), tmp_path / "a.pth")
    content = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(content[:kept])

    with pytest.raises(WeightsError, match=r"a\.pth cannot be read"):
        import_state_dict(tmp_path / "a.pth", tmp_path / "a.safetensors")


class Boobytrap:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_a_pickle_that_would_run_code_does_not(tmp_path: Path):
    torch.save({"weight": Boobytrap(tmp_path / "sprung")}, tmp_path / "a.pth")

    with pytest.raises(WeightsError, match="holds more than tensors"):
        import_state_dict(tmp_path / "a.pth", tmp_path / "a.safetensors")

    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}])
def test_a_file_without_a_state_dict_is_a_clear_error(content: object, tmp_path: Path):
    torch.save(content, tmp_path / "a.pth")

    with pytest.raises(WeightsError, match=r"a\.pth"):
        import_state_dict(tmp_path / "a.pth", tmp_path / "a.safetensors")


def test_a_backbone_of_other_classes_keeps_the_new_head(tmp_path: Path):
    pretrained, fresh = make_small(classes=1000, seed=1), make_small(classes=2, seed=2)
    head = fresh[2].weight.clone()
    save_weights(pretrained, tmp_path / "w.safetensors", dtype=None)

    load_backbone(fresh, tmp_path / "w.safetensors")

    assert torch.equal(fresh[0].weight, pretrained[0].weight)
    assert torch.equal(fresh[2].weight, head)


def test_a_backbone_of_another_network_is_refused(tmp_path: Path):
    save_weights(nn.Sequential(nn.Conv2d(3, 8, 3)), tmp_path / "w.safetensors")

    with pytest.raises(WeightsError, match="holds another network"):
        load_backbone(make_small(), tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x02.", b"\x80\x02K\x01\x85R.", b"\x80\x02G.", b"PK", b"(lp0\n."]
)
def test_whatever_the_unpickler_chokes_on_is_a_clear_error(tmp_path: Path, content: bytes):
    (tmp_path / "w.pth").write_bytes(content)

    with pytest.raises(
        WeightsError, match=r"w\.pth cannot be read as a PyTorch state dict"
    ) as told:
        import_state_dict(tmp_path / "w.pth", tmp_path / "w.safetensors")

    assert "trusted source" not in str(told.value)

    assert not (tmp_path / "w.safetensors").exists()


def test_classes_that_another_program_wrote_are_refused_where_they_are_no_list(tmp_path: Path):
    save_file(make_small().state_dict(), tmp_path / "w.safetensors", {"classes": "idc, non_idc"})

    with pytest.raises(WeightsError, match="its classes are 'idc, non_idc', no JSON list"):
        load_weights(make_small(), tmp_path / "w.safetensors", None, CLASSES)
