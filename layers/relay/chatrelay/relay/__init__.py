"""From a message to its reply, streamed: readers that were lost resume, and what a dead worker left is ended."""
