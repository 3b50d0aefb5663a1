"""AWS: one thin adapter a service."""
