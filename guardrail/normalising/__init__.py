"""The normalised twin of a text: the same text with disguises undone, which the model reads beside it if a policy says
so. `twin.py` makes twins, `reader.py` reads them.
"""
