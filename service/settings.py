"""How the service is set up: the only reader of the environment (`WSI_…`)."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

__all__ = ["GIB", "MIB", "MachineSettings", "Settings"]

MIB = 1 << 20
GIB = 1 << 30


def _split(value: Any) -> Any:
    """`a, b` of the environment."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Folders = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_split)]
Ways = Annotated[tuple[Literal["keys", "jwt"], ...], NoDecode, BeforeValidator(_split)]


class MachineSettings(BaseSettings):
    """What commands without a service need to know of their machine."""

    model_config = SettingsConfigDict(env_prefix="WSI_", extra="forbid", frozen=True)

    cache: Path = Path("~/.cache/wsi")  # what was measured on this machine; ~ is the home folder

    @property
    def tunings(self) -> Path:
        """Folder of what `wsi doctor --tune` found."""
        try:
            return self.cache.expanduser() / "tuning"
        except RuntimeError:  # a user without a home has no tunings either
            return self.cache / "tuning"


class Settings(MachineSettings):
    """Every setting with its default; `WSI_DATA=/srv/wsi`, `WSI_LEASE_S=60` and so on set them.

    Lists are separated by commas: `WSI_AUTH=keys,jwt`.
    """

    data: Path = Path("wsi-data")  # slides, results, the database
    database_url: str | None = None  # SQLAlchemy's; None: SQLite in `data`
    host: str = "127.0.0.1"
    port: int = 8000
    public_url: str | None = None  # as clients see it, where a proxy changes it

    auth: Ways = ()  # empty: no authentication, loopback only
    jwt_jwks_url: str | None = None
    jwt_jwks_file: Path | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_tenant_claim: str = "sub"
    token_secret: SecretStr | None = None  # of tile tokens; None: made once, kept in `data`
    token_ttl_s: int = 900
    cors_origins: Names = ()

    slide_roots: Folders = ()  # slides below them may be named by path
    model: str = "idc-resnet18"
    models: Names = ()  # names or folders that clients may ask for besides `model`
    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16", "float16", "int8"] = "auto"
    batch_size: int = 128

    max_slide_bytes: int = 64 * GIB
    max_form_bytes: int = 64 * MIB
    max_json_bytes: int = 1 * MIB
    quota_bytes: int | None = None  # of a tenant: slides and results
    disk_floor_bytes: int = 1 * GIB  # what always stays free on the disk of `data`
    max_uploads: int = 64  # at the same time
    upload_stall_s: float = 60  # a body of which nothing came for so long is cut off
    max_queued: int = 10_000  # of all tenants
    max_queued_per_tenant: int = 2_000
    requests_per_minute: int | None = None  # of a tenant, tiles left out; None: no limit
    max_wait_s: float = 60  # of `Prefer: wait` and `?wait=`

    lease_s: float = 60
    heartbeat_s: float = 10
    job_timeout_s: float = 6 * 3600
    poll_s: float = 0.5  # how often an idle worker looks for a job
    workers: int = Field(default=1, ge=0)  # that `wsi serve` starts
    sandbox: Literal["required", "best", "off"] = "best"  # confinement of the reader process
    reader_memory_bytes: int = 4 * GIB
    reader_timeout_s: float = 60  # of one answer
    reader_processes: int = 4  # that the API keeps for slide tiles
    tile_cache_bytes: int = 256 * MIB
    shutdown_s: float = 30

    keep_results_s: float | None = None  # None: until somebody deletes them
    keep_slides_s: float | None = None
    keep_jobs_s: float = 30 * 86400

    log_level: str = "INFO"
    log_format: Literal["json", "console"] = "json"
    otlp_endpoint: str | None = None

    @property
    def max_uploads_of_a_tenant(self) -> int:
        """Where several tenants may come, half of all: the rest is for the others."""
        return max(1, self.max_uploads // 2) if self.auth else self.max_uploads

    @property
    def database(self) -> str:
        """URL of the database."""
        return self.database_url or f"sqlite:///{(self.data / 'wsi.sqlite3').resolve()}"
