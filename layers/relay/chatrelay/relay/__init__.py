"""A message goes in, its reply streams out; what is lost sight of is taken up again, what died is ended."""
