"""The models that clients may ask for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from models.card import ModelCard
from models.errors import UnknownModel, UntrustedCode
from models.registry import is_torchscript, resolve_model
from service.errors import InvalidRequest
from service.settings import Settings

__all__ = ["Catalogue", "Offered"]


@dataclass(frozen=True)
class Offered:
    card: ModelCard
    address: str  # what a worker resolves: a shipped model's name, or an absolute path


@dataclass(frozen=True)
class Catalogue:
    """The operator's allow-list, the default model first. Resolved once; no torch."""

    offered: Mapping[str, Offered]  # by the card's name
    default: str

    @classmethod
    def from_settings(cls, settings: Settings) -> "Catalogue":
        """Raises UnknownModel, CardError, WeightsError, UntrustedCode: at the start, not later."""
        offered: dict[str, Offered] = {}
        for model in dict.fromkeys((settings.model, *settings.models)):
            entry = _offer(model)
            if entry.card.name in offered:
                raise InvalidRequest(
                    f"two models are named {entry.card.name}; clients could not tell them apart"
                )
            offered[entry.card.name] = entry
        return cls(offered, next(iter(offered)))

    def __iter__(self) -> Iterator[Offered]:
        return iter(self.offered.values())

    def get(self, name: str | None) -> Offered:
        """None: the default. Raises UnknownModel, which names those that there are."""
        found = self.offered.get(self.default if name is None else name)
        if found is None:
            raise UnknownModel(f"model {name!r}: there are {', '.join(self.offered)}")
        return found

    def name_from_address(self, address: str) -> str:
        """The name that clients know, also of a model that is offered no more."""
        named = (name for name, entry in self.offered.items() if entry.address == address)
        return next(named, Path(address).name)


def _offer(model: str) -> Offered:
    card, weights = resolve_model(model)
    if weights is not None and is_torchscript(weights):
        raise UntrustedCode(
            f"{model}: TorchScript runs its author's code, so the service does not load it; "
            "use it with `wsi heatmap --trust-code`, or convert its weights to safetensors"
        )
    path = Path(model)
    return Offered(card, str(path.resolve()) if path.exists() and card.name != model else model)
