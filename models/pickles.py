"""Tensors out of files that PyTorch wrote with pickle, without unpickling them.

A pickle is a program for a stack machine, and Python's machine runs whatever it names. The one
here knows the few instructions that a state dict needs, and of all names in the world only those
that make tensors; anything else ends it. Both forms of file are read: the zip archive (PyTorch 1.6
and later) and the row of pickles before it, in which torchvision's VGG and DenseNet still lie.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.errors import WeightsError

__all__ = ["read_pickled"]

DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MOST_DIMENSIONS = 8
PICKLE = b"\x80"  # of every pickle since protocol 2
WORDS = 120  # characters of a parser's own sentence, which may hold bytes of the file

PUSHED: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
NUMBERS = frozenset(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"))
TEXTS = frozenset(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"))
BYTES = frozenset(("SHORT_BINBYTES", "BINBYTES", "SHORT_BINSTRING", "BINSTRING"))
LITERALS = NUMBERS | TEXTS | BYTES
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
IGNORED = frozenset(("PROTO", "FRAME"))
_MARK = object()


class _Refused(Exception):
    """What the file holds besides tensors."""


@dataclass(frozen=True)
class _Name:
    """A name of the list below; nothing is imported for it."""

    call: Callable[..., Any] | None
    dtype: torch.dtype | None = None


@dataclass(frozen=True)
class _Storage:
    """numel: as the file states it; the bytes are checked against it when they are read."""

    key: str
    dtype: torch.dtype
    numel: int


@dataclass(frozen=True)
class _View:
    """A tensor as a piece of a storage; all counted in elements."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def read_pickled(path: Path) -> Any:
    """What torch.save() wrote: a tree of dict, list, tuple, text, numbers and tensors.

    Raises WeightsError where the file is damaged, or holds anything else.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror})") from error
    is_archive = zipfile.is_zipfile(path)
    _require_torch(path, content, is_archive=is_archive)
    try:
        return _read_archive(content) if is_archive else _read_legacy(content)
    except _Refused as refused:
        raise WeightsError(
            f"{path} cannot be read as a PyTorch state dict: it holds more than tensors "
            f"({refused}); save its state_dict() again with torch.save()"
        ) from refused
    except Exception as error:  # whatever damaged bytes make the parsers raise
        raise WeightsError(
            f"{path} cannot be read as a PyTorch state dict "
            f"({ascii(str(error))[1:-1][:WORDS] or type(error).__name__}); "
            "it is damaged, or no such file: copy it again"
        ) from error


def _require_torch(path: Path, content: bytes, *, is_archive: bool) -> None:
    """Raises WeightsError where the first bytes say that torch.save() did not write this."""
    if _is_safetensors(content):
        raise WeightsError(
            f"{path} is in safetensors, as everything here is; there is nothing to import: use it "
            "as it is"
        )
    if not is_archive and not content.startswith(PICKLE):
        raise WeightsError(
            f"{path} cannot be read as a PyTorch state dict: torch.save() writes no such file; "
            "give weights of PyTorch (.pth, .pt), or copy them again"
        )


def _is_safetensors(content: bytes) -> bool:
    """Eight bytes of length, then that many of JSON."""
    return content[8:9] == b"{" and int.from_bytes(content[:8], "little") + 8 <= len(content)


def _read_archive(content: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sizes = {entry.filename: entry for entry in archive.infolist()}
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in sizes.values()):
            raise ValueError("its archive is compressed, which PyTorch's never is")
        program = next((name for name in sizes if name.endswith("/data.pkl")), None)
        if program is None:
            raise ValueError("its archive has no data.pkl")
        root = program.removesuffix("data.pkl")
        if f"{root}byteorder" in sizes and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("its numbers are big-endian")
        tree = _run(io.BytesIO(archive.read(program)))
        return _Filling(lambda storage: archive.read(f"{root}data/{storage.key}")).fill(tree)


def _read_legacy(content: bytes) -> Any:
    """Magic number, protocol, system, tree, keys; then each storage behind its element count."""
    file = io.BytesIO(content)
    if _run(file) != LEGACY_MAGIC:
        raise _Refused("a pickle of Python's own")
    if _run(file) != LEGACY_PROTOCOL:
        raise ValueError("it is neither an archive nor of the older form")
    if not _run(file).get("little_endian"):
        raise ValueError("its numbers are big-endian")
    tree, keys = _run(file), _run(file)
    stored = {storage.key: storage for storage in _storages(tree, set())}
    raw: dict[str, bytes] = {}
    for key in keys:
        numel = int.from_bytes(_read_all(file, 8), "little")
        raw[key] = _read_all(file, numel * stored[key].dtype.itemsize)
    return _Filling(lambda storage: raw[storage.key]).fill(tree)


def _read_all(file: io.BytesIO, count: int) -> bytes:
    content = file.read(count)
    if len(content) != count:
        raise ValueError("it ends in the middle")
    return content


def _run(file: io.BytesIO) -> Any:
    """Executes one pickle from where the file stands."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "STOP":
            return stack.pop()
        _execute(opcode.name, argument, stack, memo)
    raise ValueError("it ends in the middle")


def _execute(name: str, argument: Any, stack: list[Any], memo: dict[int, Any]) -> None:
    if name in IGNORED:
        return
    if name in LITERALS:
        stack.append(argument)
    elif name in PUSHED:
        stack.append(PUSHED[name]())
    elif name in TUPLES:
        taken = [stack.pop() for _ in range(TUPLES[name])]
        stack.append(tuple(reversed(taken)))
    elif name in ("BINPUT", "LONG_BINPUT"):
        memo[argument] = stack[-1]
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif name in ("BINGET", "LONG_BINGET"):
        stack.append(memo[argument])
    elif name in INSTRUCTIONS:
        INSTRUCTIONS[name](stack, argument)
    else:
        raise _Refused(f"the instruction {name}")


def _mark(stack: list[Any], argument: Any) -> None:
    stack.append(_MARK)


def _tuple(stack: list[Any], argument: Any) -> None:
    stack.append(tuple(_above_mark(stack)))


def _append(stack: list[Any], argument: Any) -> None:
    value = stack.pop()
    _last(stack, list).append(value)


def _extend(stack: list[Any], argument: Any) -> None:
    values = _above_mark(stack)
    _last(stack, list).extend(values)


def _set_item(stack: list[Any], argument: Any) -> None:
    value, key = stack.pop(), stack.pop()
    _last(stack, dict)[key] = value


def _set_items(stack: list[Any], argument: Any) -> None:
    values = _above_mark(stack)
    _last(stack, dict).update(zip(values[::2], values[1::2], strict=True))


def _global(stack: list[Any], argument: Any) -> None:
    stack.append(_name(str(argument).replace(" ", ".", 1)))


def _stack_global(stack: list[Any], argument: Any) -> None:
    attribute, module = stack.pop(), stack.pop()
    stack.append(_name(f"{module}.{attribute}"))


def _persistent(stack: list[Any], argument: Any) -> None:
    """('storage', type, key, device, number of elements), to which the older form adds a view."""
    kind, storage_type, key, _, numel, *view = stack.pop()
    known = isinstance(storage_type, _Name) and storage_type.dtype is not None
    if kind != "storage" or not known or view not in ([], [None]):
        raise _Refused(f"a persistent {kind!r:.40}")
    stack.append(_Storage(str(key), storage_type.dtype, int(numel)))


def _reduce(stack: list[Any], argument: Any) -> None:
    arguments, called = stack.pop(), stack.pop()
    if not isinstance(called, _Name) or called.call is None:
        raise _Refused(f"a call of a {type(called).__name__}")
    stack.append(called.call(*arguments))


def _build(stack: list[Any], argument: Any) -> None:
    """State dicts carry their versions as an attribute, which is of no use here."""
    stack.pop()
    _last(stack, dict)


INSTRUCTIONS: Mapping[str, Callable[[list[Any], Any], None]] = {
    "MARK": _mark,
    "TUPLE": _tuple,
    "APPEND": _append,
    "APPENDS": _extend,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "BINPERSID": _persistent,
    "REDUCE": _reduce,
    "BUILD": _build,
}


def _above_mark(stack: list[Any]) -> list[Any]:
    at = max(i for i, value in enumerate(stack) if value is _MARK)
    values = stack[at + 1 :]
    del stack[at:]
    return values


def _last(stack: list[Any], kind: type) -> Any:
    if type(stack[-1]) is not kind:
        raise _Refused(f"a change of a {type(stack[-1]).__name__}")
    return stack[-1]


def _rebuild(storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> _View:
    """Of gradients and hooks, which follow, nothing is kept."""
    if not isinstance(storage, _Storage):
        raise _Refused("a tensor without a storage")
    return _View(storage, int(offset), tuple(map(int, size)), tuple(map(int, stride)))


def _parameter(data: _View, *_: Any) -> _View:
    return data


def _ordered(pairs: Any = ()) -> dict[Any, Any]:
    return dict(pairs)


NAMES: Mapping[str, _Name] = {
    "collections.OrderedDict": _Name(_ordered),
    "torch._utils._rebuild_tensor": _Name(_rebuild),
    "torch._utils._rebuild_tensor_v2": _Name(_rebuild),
    "torch._utils._rebuild_parameter": _Name(_parameter),
    **{f"torch.{name}": _Name(None, dtype) for name, dtype in DTYPES.items()},
}


def _name(full: str) -> _Name:
    if full not in NAMES:
        raise _Refused(full)
    return NAMES[full]


def _storages(tree: Any, seen: set[int]) -> Iterator[_Storage]:
    if isinstance(tree, _View):
        yield tree.storage
    elif isinstance(tree, (dict, list, tuple)) and id(tree) not in seen:
        seen.add(id(tree))
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from _storages(value, seen)


class _Filling:
    """Makes tensors of views. Every storage is fetched once, and every part of the tree filled
    once: a list that holds another twice, and so on, would have more leaves than there are atoms.
    """

    def __init__(self, fetch: Callable[[_Storage], bytes]) -> None:
        self._fetch = fetch
        self._flat: dict[str, Tensor] = {}
        self._done: dict[int, Any] = {}

    def fill(self, tree: Any) -> Any:
        if not isinstance(tree, (_View, dict, list, tuple)):
            return tree
        if id(tree) not in self._done:
            self._done[id(tree)] = self._fill(tree)
        return self._done[id(tree)]

    def _fill(self, tree: Any) -> Any:
        if isinstance(tree, dict):
            return {key: self.fill(value) for key, value in tree.items()}
        if isinstance(tree, (list, tuple)):
            return type(tree)(map(self.fill, tree))
        storage = tree.storage
        if storage.key not in self._flat:
            self._flat[storage.key] = _flat(storage, self._fetch(storage))
        return _viewed(tree, self._flat[storage.key])


def _flat(storage: _Storage, raw: bytes) -> Tensor:
    if len(raw) != storage.numel * storage.dtype.itemsize:
        raise ValueError(f"storage {storage.key} has {len(raw)} bytes, not {storage.numel} numbers")
    if not raw:
        return torch.empty(0, dtype=storage.dtype)
    return torch.from_numpy(np.frombuffer(raw, np.uint8).copy()).view(storage.dtype)


def _viewed(view: _View, flat: Tensor) -> Tensor:
    """No more elements than the storage has: a stride of zero would make terabytes of a byte."""
    reach = sum((side - 1) * step for side, step in zip(view.size, view.stride, strict=True))
    wrong = min((*view.size, *view.stride, view.offset), default=0) < 0
    if wrong or len(view.size) > MOST_DIMENSIONS or prod(view.size) > flat.numel():
        raise ValueError(f"a tensor of {view.size} out of {flat.numel()} numbers")
    if prod(view.size) and view.offset + reach >= flat.numel():
        raise ValueError(f"a tensor of {view.size} reaches beyond its storage")
    return flat.as_strided(view.size, view.stride, view.offset)
