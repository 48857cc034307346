"""Engines run a guard model over token ids; they see ids, never text."""
