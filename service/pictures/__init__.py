"""What viewers are shown of slides and heatmaps, tile by tile."""
