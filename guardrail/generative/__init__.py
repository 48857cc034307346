"""Qwen3Guard-Gen: a language model that writes its verdict, behind an endpoint or as a checkpoint of our own."""
