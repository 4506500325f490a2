import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from models.errors import WeightsError
from models.pickles import read_pickled


def make_state() -> OrderedDict[str, torch.Tensor]:
    """Of each kind of number one, a view, an empty one and one without a shape."""
    torch.manual_seed(0)
    weight = torch.randn(4, 6)
    return OrderedDict(
        float=weight,
        turned=weight.T,
        piece=weight[1:3, ::2],
        half=torch.randn(3).half(),
        bfloat=torch.randn(3).bfloat16(),
        double=torch.randn(2).double(),
        count=torch.tensor(7),
        flags=torch.tensor([True, False]),
        bytes=torch.tensor([1, 255], dtype=torch.uint8),
        empty=torch.zeros(0, 3),
    )


def save_pickle(path: Path, program: bytes, **files: bytes) -> Path:
    """An archive like PyTorch's with a program of one's own."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", program)
        for name, content in files.items():
            archive.writestr(f"a/data/{name}", content)
    return path


def tensor_program(size: str, stride: str, offset: int = 0, numel: int = 4) -> bytes:
    """Protocol 0, by hand: `size` and `stride` are lines that push a tuple."""
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\n"
        + f"I{numel}\ntQI{offset}\n{size}{stride}tR.".encode()
    )


@pytest.mark.parametrize("is_archive", [True, False])
def test_every_kind_of_tensor_comes_back_as_torch_saved_it(is_archive: bool, tmp_path: Path):
    saved = make_state()
    torch.save(saved, tmp_path / "a.pth", _use_new_zipfile_serialization=is_archive)

    read = read_pickled(tmp_path / "a.pth")

    assert list(read) == list(saved)
    for name, tensor in saved.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor), name


@pytest.mark.parametrize("is_archive", [True, False])
def test_a_trainer_s_checkpoint_comes_back_whole(is_archive: bool, tmp_path: Path):
    layer = nn.Linear(2, 3)
    saved = {
        "model": layer.state_dict(),
        "parameter": layer.weight,
        "epoch": 300,
        "best": (0.5, None, True, [1, 2]),
        "large": 10**10,
    }
    torch.save(saved, tmp_path / "a.pth", _use_new_zipfile_serialization=is_archive)

    read = read_pickled(tmp_path / "a.pth")

    assert torch.equal(read["model"]["weight"], layer.weight)
    assert torch.equal(read["parameter"], layer.weight)
    assert (read["epoch"], read["best"], read["large"]) == (300, (0.5, None, True, [1, 2]), 10**10)


class Sprung:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("is_archive", [True, False])
def test_a_file_that_would_run_code_is_refused_by_the_name_of_the_code(
    is_archive: bool, tmp_path: Path
):
    booby = {"weight": torch.ones(1), "trap": Sprung(tmp_path / "sprung")}
    torch.save(booby, tmp_path / "a.pth", _use_new_zipfile_serialization=is_archive)

    with pytest.raises(WeightsError, match=r"more than tensors \(_?io.open\)"):
        read_pickled(tmp_path / "a.pth")

    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(S'touch sprung'\ntR.",
        b"(S'touch sprung'\nios\nsystem\n.",
        b"(cos\nsystem\nS'touch sprung'\no.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch sprung\x85R.",
        b"ctorch\nload\n(S'x'\ntR.",
        b"ccollections\nOrderedDict\n)\x81.",
        b"ccollections\nOrderedDict.__init__\n.",
        b"\x82\x01.",
        b"Ptorch\n.",
    ],
)
def test_no_instruction_reaches_code(
    program: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(WeightsError, match="more than tensors"):
        read_pickled(save_pickle(tmp_path / "a.pth", program))

    assert not (tmp_path / "sprung").exists()


def test_attributes_of_a_tensor_are_not_set(tmp_path: Path):
    program = tensor_program("(I2\nt", "(I1\nt")[:-1] + b"(dS'data'\nI1\nsb."

    with pytest.raises(WeightsError, match="cannot be read"):
        read_pickled(save_pickle(tmp_path / "a.pth", program, **{"0": bytes(16)}))


@pytest.mark.parametrize(
    ("size", "stride", "offset", "reason"),
    [
        ((2**40,), (0,), 0, "out of 4 numbers"),
        ((3,), (2,), 0, "reaches beyond"),
        ((4,), (1,), 1, "reaches beyond"),
        ((2,), (1,), -1, "out of 4 numbers"),
        ((2,), (-1,), 2, "out of 4 numbers"),
        ((1,) * 9, (1,) * 9, 0, "out of 4 numbers"),
    ],
)
def test_a_tensor_stays_inside_its_storage(
    size: tuple[int, ...], stride: tuple[int, ...], offset: int, reason: str, tmp_path: Path
):
    torch.save({"w": torch.arange(4.0)}, tmp_path / "a.pth")
    file = torch_archive(size, stride, offset)
    (tmp_path / "b.pth").write_bytes(file)

    with pytest.raises(WeightsError, match=reason):
        read_pickled(tmp_path / "b.pth")


class _Stored:
    """Pickles to what torch writes for a tensor, with numbers of one's own."""

    def __init__(self, size: tuple[int, ...], stride: tuple[int, ...], offset: int) -> None:
        self.view = offset, size, stride

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        storage = torch.zeros(1).untyped_storage()
        return torch._utils._rebuild_tensor_v2, (storage, *self.view, False, OrderedDict())


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: object) -> object:
        is_storage = isinstance(value, torch.UntypedStorage)
        return ("storage", torch.FloatStorage, "0", "cpu", 4) if is_storage else None


def torch_archive(size: tuple[int, ...], stride: tuple[int, ...], offset: int) -> bytes:
    """An archive with one tensor out of a storage of four float32."""
    program, archive = io.BytesIO(), io.BytesIO()
    _Pickler(program, protocol=2).dump({"w": _Stored(size, stride, offset)})
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a/data.pkl", program.getvalue())
        file.writestr("a/data/0", bytes(16))
    return archive.getvalue()


def test_the_hand_made_archive_is_one_that_is_read(tmp_path: Path):
    (tmp_path / "a.pth").write_bytes(torch_archive((2, 2), (2, 1), 0))

    assert torch.equal(read_pickled(tmp_path / "a.pth")["w"], torch.zeros(2, 2))


def test_a_storage_of_another_length_than_stated_is_refused(tmp_path: Path):
    content = torch_archive((2,), (1,), 0)
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(tmp_path / "a.pth", "w") as new,
    ):
        new.writestr("a/data.pkl", old.read("a/data.pkl"))
        new.writestr("a/data/0", bytes(12))

    with pytest.raises(WeightsError, match="has 12 bytes, not 4 numbers"):
        read_pickled(tmp_path / "a.pth")


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(10**6))

    with pytest.raises(WeightsError, match="compressed"):
        read_pickled(tmp_path / "a.pth")


def test_lists_that_hold_each_other_twice_end_soon(tmp_path: Path):
    nested: list[object] = [torch.ones(1)]
    for _ in range(60):
        nested = [nested, nested]
    torch.save(nested, tmp_path / "a.pth")

    assert len(read_pickled(tmp_path / "a.pth")) == 2


def test_a_list_that_holds_itself_is_refused(tmp_path: Path):
    nested: list[object] = []
    nested.append(nested)
    torch.save(nested, tmp_path / "a.pth")

    with pytest.raises(WeightsError, match="cannot be read"):
        read_pickled(tmp_path / "a.pth")


@pytest.mark.parametrize("names", [None, ("empty",)])  # where its storage lies is up to chance
@pytest.mark.parametrize("is_archive", [True, False])
def test_a_file_cut_anywhere_is_refused(
    is_archive: bool, names: tuple[str, ...] | None, tmp_path: Path
):
    state = OrderedDict((k, v) for k, v in make_state().items() if names is None or k in names)
    torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=is_archive)
    content = (tmp_path / "a.pth").read_bytes()

    for kept in (*range(0, len(content) - 1, 37), len(content) - 1):
        (tmp_path / "b.pth").write_bytes(content[:kept])
        with pytest.raises(WeightsError, match=r"b\.pth cannot be read"):
            read_pickled(tmp_path / "b.pth")


def test_a_pickle_of_pythons_own_is_told_from_a_damaged_file(tmp_path: Path):
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"a": 1}))

    with pytest.raises(WeightsError, match=r"a pickle of Python's own.* again with torch.save"):
        read_pickled(tmp_path / "a.pth")


def test_what_is_in_safetensors_already_needs_no_import(tmp_path: Path):
    (tmp_path / "a.safetensors").write_bytes(safetensors.torch.save({"a": torch.zeros(2)}))

    with pytest.raises(WeightsError, match=r"in safetensors, .*nothing to import"):
        read_pickled(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "content", [b"II+\0" + bytes(999) + b"\n", b"\x80\x02I" + bytes(999) + b"\n"]
)
def test_bytes_of_another_file_are_not_printed(tmp_path: Path, content: bytes):
    (tmp_path / "p.tif").write_bytes(content)

    with pytest.raises(WeightsError, match=r"p\.tif cannot be read as a PyTorch") as caught:
        read_pickled(tmp_path / "p.tif")

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < len(str(tmp_path)) + 300
