"""The guard as a reward: a policy model learns by GSPO from what judges say of its answers."""
