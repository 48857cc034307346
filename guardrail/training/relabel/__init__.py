"""Labels that a teacher of the other half does not believe."""
