"""Start what is measured and what measures, on a processor each, and say what time and memory a process used.

What is measured has the first processor for itself; this process and all that it starts otherwise (BigQuery's stub,
Redis, PostgreSQL, the load) share the second. A machine with one processor pins nothing.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDER = Path(__file__).parent
MEASURED_CORE, OTHER_CORE = 0, 1
_ENDS_WITHIN_S = 20


def stay_aside() -> None:
    """Move this process, and what it will start, off the processor of what is measured."""
    if _may_pin():
        os.sched_setaffinity(0, {OTHER_CORE})


def pinned(command: Sequence[str], cores: str = str(MEASURED_CORE)) -> list[str]:
    """The command on processors of its own; its process id stays that of the command."""
    return ["taskset", "-c", cores, *command] if _may_pin() else list(command)


def _may_pin() -> bool:
    return {MEASURED_CORE, OTHER_CORE} <= set(range(os.cpu_count() or 1)) and shutil.which("taskset") is not None


@contextmanager
def serving(script: str, *arguments: str, measured: bool = False) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server of this folder in a process of its own, and the port that it prints. It ends when its input does."""
    command = [sys.executable, str(FOLDER / script), *arguments]
    command = pinned(command) if measured else command
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"{script} did not start"
        try:
            yield process, int(line)
        finally:
            process.communicate()


def end(process: subprocess.Popen[str]) -> None:
    """End a process as `kill` does, by force where it does not end."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def cpu_s(pid: int) -> tuple[float, float]:
    """Processor seconds of a process, and of its first thread alone (that of the event loop)."""
    tasks = Path(f"/proc/{pid}/task")
    spent_s = {task.name: _spent_s(task) for task in tasks.iterdir()}
    return _of_all_threads(pid), spent_s[str(pid)]


def tree_cpu_s(pid: int) -> float:
    """Processor seconds of a process, of all that it started, and of what of that has ended."""
    parents, spent = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # it has just ended
                values = _stat(folder)
                parents[int(folder.name)] = int(values[1])
                spent[int(folder.name)] = sum(int(values[at]) for at in range(11, 15))
    family = {pid}
    while len(family) < len(family := family | {each for each, parent in parents.items() if parent in family}):
        pass
    return sum(spent.get(each, 0) for each in family) / os.sysconf("SC_CLK_TCK")


def _of_all_threads(pid: int) -> float:
    """By the process's own clock, which counts threads that have ended too."""
    values = _stat(Path(f"/proc/{pid}"))
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def _spent_s(task: Path) -> float:
    try:
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    except OSError:  # a kernel without it, or a thread that has just ended
        return 0.0


def _stat(folder: Path) -> list[str]:
    """The fields of /proc/PID/stat behind the name, which may have blanks."""
    return (folder / "stat").read_text().rpartition(")")[2].split()


def rss_mib(pid: int) -> float:
    """Memory of a process that is in RAM, children left out."""
    return int((Path(f"/proc/{pid}") / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def descriptor_count(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def thread_count(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def rss_max_mib(pid: int) -> float:
    """The most memory that a process ever had in RAM."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
