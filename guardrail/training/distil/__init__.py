"""Distillation of a sentence encoder into a small backbone, before fine-tuning.

Ours, not the technical report's, which starts from a pre-trained Qwen3: where no such start is at hand, each position
of the small network learns to foretell the vector that an encoder gives the whole text.
"""
