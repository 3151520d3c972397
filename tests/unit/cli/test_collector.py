"""Tests of bqgate.cli.collector."""

import subprocess
import sys


def test_the_collector_never_looks_through_what_was_imported() -> None:
    """What importing made is set aside; the collector is on again afterwards."""
    script = """
import gc
from bqgate.cli.collector import importing
with importing():
    import xml.dom.minidom
    assert not gc.isenabled()
assert gc.isenabled()
assert gc.get_freeze_count() > 1_000
assert not any(each is xml.dom.minidom.Node for each in gc.get_objects())
before = gc.get_freeze_count()
with importing():
    import xml.dom.minidom
assert gc.get_freeze_count() <= before
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
