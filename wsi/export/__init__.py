"""Heatmaps as files that other tools open."""
