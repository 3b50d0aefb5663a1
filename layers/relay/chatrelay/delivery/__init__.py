"""From one reply to many sockets: how its text is paced, and how each connection gets all of it."""
