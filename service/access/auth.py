"""Who asks. Off by default: then everybody who reaches the port is the tenant "local"."""

from dataclasses import dataclass, field

__all__ = ["LOCAL", "Owner", "Principal"]


@dataclass(frozen=True)
class Owner:
    """Whose share of the disk something takes: a tenant's, and that of the key it came with."""

    tenant: str
    key_id: str | None = None


@dataclass(frozen=True)
class Principal:
    """Whoever sent a request, as far as the service cares."""

    tenant: str
    key_id: str | None = None
    scopes: frozenset[str] = field(default_factory=lambda: frozenset({"read", "write"}))

    @property
    def owner(self) -> Owner:
        return Owner(self.tenant, self.key_id)


LOCAL = Principal("local")
