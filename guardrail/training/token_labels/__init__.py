"""Where an answer turns risky: rollouts that a guard judges, and a judge of the prefix."""
