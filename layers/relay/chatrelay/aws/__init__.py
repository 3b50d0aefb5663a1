"""One thin adapter a service of AWS."""
