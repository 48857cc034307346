"""A world of 23 words in which a whole run takes a minute: prompts, a policy model made on the spot, judges.

Its judges are functions that look for planted words. Nothing of it is used where real models are trained.
"""
