"""Prompts by Self-Instruct over a taxonomy, by keywords and in contrastive pairs; nothing is kept twice."""
