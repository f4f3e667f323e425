"""How a process is told to end when nothing is under way any more, however long that takes."""

import signal

LEAVE_SIGNAL = signal.SIGUSR1
