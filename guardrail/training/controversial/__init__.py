"""Controversial is where a loose and a strict classifier of the other half disagree."""
