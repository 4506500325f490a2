"""A child that does not outlive its parent, even where that is killed."""

import ctypes
import os
import signal
import sys

__all__ = ["end_with_parent"]

PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """The kernel sends `number` when the thread that started this process ends (prctl(2)).

    Elsewhere than on Linux nothing happens here: the end of a pipe has to do.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl PR_SET_PDEATHSIG")
    if os.getppid() != parent:  # it ended before it was watched
        os.kill(os.getpid(), number)
