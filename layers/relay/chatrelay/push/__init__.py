"""Push notifications: one adapter a push service, and the notifier that reaches each of a user's phones once."""
