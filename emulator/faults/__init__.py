"""What shall go wrong, and when. Imported by the command line alone."""
