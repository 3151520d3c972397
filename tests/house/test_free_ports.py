"""Keep the ports that tests give to servers apart from those that anybody else may get at any moment."""

import socket
import subprocess
import sys
from pathlib import Path

from tests.house.tree import ROOT
from tests.support.free_ports import free_port

_SCRIPT = (
    "from tests.support.free_ports import free_port; print(*(free_port() for _ in range(150)), flush=True); input()"
)
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_processes_have_ports_of_their_own() -> None:
    """Two that live at once, and this one: no number is given by two of them, and none is one that the system gives."""
    command, pipe = [sys.executable, "-c", _SCRIPT], subprocess.PIPE
    with (
        subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as one,
        subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as other,
    ):
        assert one.stdout is not None
        assert other.stdout is not None
        given = [set(map(int, each.readline().split())) for each in (one.stdout, other.stdout)]
        given.append({free_port() for _ in range(150)})
        one.communicate("\n")
        other.communicate("\n")
    assert min(map(len, given)) > 10
    assert len(set.union(*given)) == sum(map(len, given))
    if _RANGE.exists():
        assert max(set.union(*given)) < int(_RANGE.read_text().split()[0])


def test_a_port_at_which_somebody_listens_is_not_free() -> None:
    """Found once and listened at, it is not found again, however often one asks."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert port not in {free_port() for _ in range(250)}
