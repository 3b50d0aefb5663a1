"""`python -m infra.local`: where the emulator was. Says where it is, and starts it."""

import sys

from emulator.__main__ import main

if __name__ == "__main__":
    print("infra.local has moved: python -m emulator", file=sys.stderr)
    sys.exit(main())
