"""Sample a gate with py-spy while it is under load, and print which functions the time went to.

    python -m benchmarks.gated.profiles FILE [count]     a file of `py-spy record --format raw`

Self is the time in a function's own lines, total that and all that it called; a function that calls itself counts once.
Samples of threads that wait are not taken. Sampling takes a tenth of the rate and more, so figures of such a round are
not to be quoted.
"""

import subprocess
import sys
from collections import Counter
from pathlib import Path

_RATE_HZ = 400
_SHOWN = 45
# py-spy takes some threads that wait as ones that work.
_WAITS = {
    "_worker (concurrent/futures/thread.py)",
    "EpollSelector.select (selectors.py)",
    "Condition.wait (threading.py)",
    "Connection.wait (psycopg/connection.py)",
}


class Profile:
    """py-spy beside one round after the other; a file for each contender, its last round's."""

    def __init__(self, folder: Path) -> None:
        self.files: dict[str, Path] = {}
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self, pid: int, name: str, seconds: float) -> None:
        file = self._folder / f"profile_{name}.raw"
        self.files[name] = file
        spy = Path(sys.executable).with_name("py-spy")
        command = [str(spy), "record", "--format", "raw", "--rate", str(_RATE_HZ), "--duration", f"{seconds:.0f}"]
        command += ["--threads", "--output", str(file), "--pid", str(pid)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def end(self) -> None:
        if self._process is not None:
            self._process.wait()


def top_functions(file: Path, count: int = _SHOWN) -> str:
    """The functions with the most time of their own, and those with the most below them, in percent of all samples."""
    own, total, threads = Counter[str](), Counter[str](), Counter[str]()
    for line in file.read_text().splitlines():
        stack, _, samples = line.rpartition(" ")
        thread, *frames = stack.split(";")
        names = [_function(frame) for frame in frames]
        if not names or names[-1] in _WAITS:
            continue
        own[names[-1]] += int(samples)
        threads[thread] += int(samples)
        for name in set(names):
            total[name] += int(samples)
    whole = sum(own.values()) or 1
    parts = [f"{whole} samples; by thread:"]
    parts += [f"{samples / whole:7.1%}  {name}" for name, samples in threads.most_common(8)]
    for title, counted in (("self", own), ("total", total)):
        parts += [f"\n{title}", *(f"{samples / whole:7.1%}  {name}" for name, samples in counted.most_common(count))]
    return "\n".join(parts)


def _function(frame: str) -> str:
    """A frame without its line, and a path without what comes before the package."""
    name, _, place = frame.partition(" (")
    path = place.rstrip(")").rpartition(":")[0] or place.rstrip(")")
    for marker in ("/site-packages/", "/lib/python3.11/"):
        path = path.rpartition(marker)[2]
    return f"{name} ({path})" if path else name


if __name__ == "__main__":
    print(top_functions(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else _SHOWN))
