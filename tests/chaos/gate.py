"""Run the command `bqgate` with a clock that a test moves: ``python -P gate.py CLOCK serve --config FILE``.

The file CLOCK holds how many milliseconds the gate's clock is ahead of the machine's, as 8 bytes; whoever writes them
moves the clock while the gate runs, as a step of NTP would. All else is the command as users run it, of whichever
revision stands first on PYTHONPATH: this file imports nothing but what every revision has.
"""

import mmap
import struct
import sys
from datetime import datetime, timedelta
from pathlib import Path

from bqgate.__main__ import main
from bqgate.clock import SystemClock


def move_clock(file: Path) -> None:
    """From now on the machine's time is read as the file says."""
    with file.open("rb") as opened:
        offset = mmap.mmap(opened.fileno(), 8, access=mmap.ACCESS_READ)
    machines = SystemClock().now

    def now() -> datetime:
        return machines() + timedelta(milliseconds=struct.unpack("<q", offset[:])[0])

    SystemClock.now = staticmethod(now)  # this file is for nothing else


if __name__ == "__main__":
    move_clock(Path(sys.argv.pop(1)))
    main()
