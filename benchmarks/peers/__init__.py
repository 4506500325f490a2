"""Other packages on the same slide, with the same weights and the same tiles; see __main__."""
