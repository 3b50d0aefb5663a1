"""How long a test waits for what must come, whatever that is.

Ten times what it takes when two other programs want both cores; only a test that fails waits so long.
"""

PATIENCE_S = 60.0
