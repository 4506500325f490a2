"""The command line and the service on top of `wsi` and `models`."""

__all__: list[str] = []
