"""Several networks, and classical classifiers of their features, as one model."""
