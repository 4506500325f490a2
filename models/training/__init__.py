"""The parts of a training run. The loop itself is in `models.train`."""
