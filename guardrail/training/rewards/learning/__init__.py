"""A small helpfulness model trained here: on harmless requests the real answer, over another one's, over a refusal.

Pairs of harmlessness preferences will not do: their winners often refuse, and a model that is taught by them rewards
refusing.
"""
