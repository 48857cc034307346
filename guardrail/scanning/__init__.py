"""Judges data sets offline: files of rows in, one verdict a row out; killed at any moment, it goes on where it was."""
