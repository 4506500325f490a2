"""Draws a slide with known cancer: for demonstrations, tests and benchmarks."""

from wsi.phantom.draw import LARGEST_PX, MPP_LIMITS, PhantomTruth, draw_phantom, truth_path

__all__ = ["LARGEST_PX", "MPP_LIMITS", "PhantomTruth", "draw_phantom", "truth_path"]
