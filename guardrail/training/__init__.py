"""The recipe that makes a guard model: tokenizer, language-model pre-training, four-head fine-tuning.

Never imported by the rest of the package. Every number of our own choosing is marked as ours in the settings.
"""
