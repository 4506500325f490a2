"""What an evaluation says beyond its figures: classes, comparisons, curves, regions, a report."""
