"""Compose the gate. The only room that names concrete stores and reads the settings' values.

    root.py        open_gate and serve: what is opened in which order, and who is handed what
    adapters.py    which store, which credentials
    background.py  what runs beside the requests

Called by cli and by the tests of the whole gate.
"""

from bqgate.app.root import Gate, open_gate, serve

__all__ = ["Gate", "open_gate", "serve"]
