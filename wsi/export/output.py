"""Whole or not at all: a file is written beside its place and renamed when it is complete."""

from wsi.store.folder import partial_file

__all__ = ["partial_file"]
