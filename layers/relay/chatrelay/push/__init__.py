"""Push notifications: what a phone is told of a reply, and what became of telling it."""
