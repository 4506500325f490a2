"""The service's settings, for commands."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.settings import Settings

__all__ = ["read_settings", "require_service", "require_writable"]


def read_settings(**given: Any) -> "Settings":
    """The environment's, and before them what was given on the command line; None: was not.

    Raises InvalidRequest.
    """
    from service.errors import InvalidRequest
    from service.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValueError as error:  # pydantic's; its text names each setting and what it may be
        raise InvalidRequest(
            f"a setting (WSI_…) has a value that it cannot have: {error}"
        ) from error


def require_service(settings: "Settings") -> None:
    """Raises InvalidRequest where no service has its database: to ask one makes none."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    from service.errors import InvalidRequest

    try:
        url = make_url(settings.database)
    except ArgumentError:  # open_database() says what is wrong with it
        return
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise InvalidRequest(
            f"no service's data in {settings.data}; name its folder by --data (or WSI_DATA)"
        )


def require_writable(settings: "Settings") -> None:
    """Raises InvalidOption where the service could not write below its folder."""
    from wsi.store.places import require_folder_place

    require_folder_place(settings.data, option="--data")
