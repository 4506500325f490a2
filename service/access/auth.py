"""Who asks. Off by default: then everybody who reaches the port is the tenant "local"."""

from dataclasses import dataclass, field

__all__ = ["LOCAL", "Principal"]


@dataclass(frozen=True)
class Principal:
    """Whoever sent a request, as far as the service cares."""

    tenant: str
    key_id: str | None = None
    scopes: frozenset[str] = field(default_factory=lambda: frozenset({"read", "write"}))


LOCAL = Principal("local")
