"""Figures about guard models on labelled rows, and a baseline to hold them against."""
