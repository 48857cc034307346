"""Answers to prompts: by instructed, base and reasoning models."""
