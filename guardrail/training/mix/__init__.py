"""The training set: balanced, without duplicates and leaks, split by families, with its data card."""
