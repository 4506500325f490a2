"""How a model computes fastest on this machine, measured once and kept. No torch."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from models.card import ModelCard
from models.errors import ModelError
from wsi.cores import usable_cores

__all__ = ["FORMS", "Tuning", "find_tuning", "keep_tuning", "machine_name", "today"]

FORMS = ("auto", "plain", "filtered", "compiled", "openvino", "graphed", "int8")
"""plain: layer by layer. filtered: small maps convolved with fewer multiplications. compiled: by
torch.compile. openvino: by OpenVINO, in float32. graphed: a CUDA graph. int8: quantised, by
OpenVINO. auto: filtered where it pays without being measured, else plain."""

SCHEMA = 1

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tuning:
    """batch_size: tiles in the network at once. threads: of the network on a CPU; None leaves them.
    tiles_s: of the network alone, when it was measured. difference: the largest of a probability
    from plain float32. ranges: of int8, by tensor, (low, high). loss: what int8 was measured to
    lose, by name.
    """

    form: str
    precision: str
    batch_size: int
    threads: int | None = None
    tiles_s: float | None = None
    difference: float | None = None
    measured: str = "not measured"  # the day, ISO 8601
    ranges: tuple[tuple[float, float], ...] = ()
    loss: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ModelError(f"form {self.form!r}: use one of {', '.join(FORMS)}")
        if self.batch_size < 1 or (self.threads is not None and self.threads < 1):
            raise ModelError(
                f"batch size {self.batch_size}, threads {self.threads}: both must be 1 or more"
            )

    @property
    def is_int8(self) -> bool:
        return self.form == "int8"

    def to_text(self) -> str:
        speed = f": {self.tiles_s:,.0f} tiles/s" if self.tiles_s else ""
        threads = f", {self.threads} threads" if self.threads else ""
        return (
            f"{self.form}, {self.precision}, {self.batch_size} tiles at once{threads}{speed}, "
            f"measured {self.measured}"
        )


def find_tuning(folder: Path, card: ModelCard, device: str, *, int8: bool = False) -> Tuning | None:
    """What keep_tuning() kept there for this machine, these libraries and weights.

    int8: the one in 8 bits, which is never found otherwise: it changes the scores. None where there
    is none, and where the file is damaged: a tuning is never needed.
    """
    path, made_for = _path(folder, card, device, int8=int8), _made_for(card, device)
    try:
        record = json.loads(path.read_text("utf-8"))
        if record["schema"] != SCHEMA or record["made_for"] != made_for:
            return None
        fields = record["tuning"]
        ranges = tuple((float(low), float(high)) for low, high in fields.pop("ranges"))
        tuning = Tuning(**fields, ranges=ranges)
        return tuning if tuning.is_int8 == int8 else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ModelError) as error:
        logger.warning(
            "tuning %s is left aside (%s); `wsi doctor --tune` makes it again", path, error
        )
        return None


def keep_tuning(folder: Path, card: ModelCard, device: str, tuning: Tuning) -> Path:
    """Whole or not at all; takes the place of an older one, in 8 bits or not."""
    from wsi.store.folder import partial_file

    path = _path(folder, card, device, int8=tuning.is_int8)
    record = {
        "schema": SCHEMA,
        "made_for": _made_for(card, device),
        "tuning": asdict(tuning),
    }
    with partial_file(path) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    return path


def machine_name() -> str:
    """The processor and how many of its cores this process may use."""
    return f"{_processor()}, {usable_cores()} cores"


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:  # not on Linux
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _made_for(card: ModelCard, device: str) -> dict[str, str]:
    """What a tuning holds for: on any change it is measured again.

    device: with its name where it is a GPU, as models.network.device_name() says it.
    """
    return {
        "machine": machine_name(),
        "device": device,
        "torch": version("torch"),
        "openvino": _version("openvino"),
        "weights_sha256": str(card.weights_sha256),
        "input": f"{card.tile_px} px, {card.input_px} px",
    }


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "none"


def _path(folder: Path, card: ModelCard, device: str, *, int8: bool) -> Path:
    made_for = json.dumps(_made_for(card, device), sort_keys=True)
    digest = hashlib.sha256(made_for.encode()).hexdigest()[:16]
    return folder / f"{card.name}-{digest}{'-int8' if int8 else ''}.json"
