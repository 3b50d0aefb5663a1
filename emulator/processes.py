"""Children that do not outlive the gateway, however it ends."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> Callable[[], None] | None:
    """Return a `preexec_fn` that has Linux kill the child when this process is gone; None elsewhere.

    Source: prctl(2), PR_SET_PDEATHSIG.
    """
    if sys.platform != "linux":
        return None
    # The C library is loaded here, before the fork, where loading is safe.
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def preexec() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # It died between the fork and the call above.
            os._exit(1)

    return preexec
