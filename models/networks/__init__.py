"""The networks of the table of models, one architecture family a file. See `models.registry`."""
