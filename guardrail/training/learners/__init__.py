"""Classifiers that one half of the data teaches and the other half asks; `controversial` and `relabel` share them."""
