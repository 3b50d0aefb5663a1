"""Models and push services that answer here in place of the real ones."""
