"""The service's settings, for commands."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.settings import Settings

__all__ = ["read_settings"]


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
