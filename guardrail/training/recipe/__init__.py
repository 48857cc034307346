"""The data recipe: rows, models, stages, and what drives them. A stage is a package of its own beside this one."""
