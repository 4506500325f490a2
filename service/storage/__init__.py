"""Slides and results on disk, by tenant: how they come in, are found, and go away."""
