"""Readers: each makes a Slide of one family of files."""
