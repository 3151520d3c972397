"""Hold the steps, in the order of their numbers."""
