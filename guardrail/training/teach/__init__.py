"""Soft labels: what an ensemble of teachers says about each row, none of which has seen the row's family."""
