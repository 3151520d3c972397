"""Read the settings: one YAML file, overridden by the environment, into values of the domain.

    load.py         the door: load_settings(path, environ) → Settings, or SettingsInvalid with every fault
    document.py     file and environment → one tree of plain values, and where each came from
    value_files.py  values that stand in files of their own: secrets that Docker or Kubernetes mount
    sections.py     what may stand in it: every key with its type, default and meaning
    fields.py       the types of single values: URLs with passwords, issuers of tokens
    secret_text.py  a secret that does not show itself, and why one can be guessed
    rules.py        what only shows when several keys are looked at together
    prices.py       config/prices.yaml → PriceTables
    listening.py    where a gate with these settings listens, for who asks whether it lives
    shipped.py      where the files of config/ are that belong to the package
    faults.py       what is wrong, where, and what to write instead

Tiers, customers, prices and defaults are defined in policies, because admins change them while the gate runs.
Named by cli and app alone; the rooms get values by constructor. docs/settings.md is this for operators.
"""

from bqgate.settings.faults import Fault, SettingsInvalid
from bqgate.settings.listening import Listening, read_listening
from bqgate.settings.load import Settings, load_settings
from bqgate.settings.value_files import value_files

__all__ = ["Fault", "Listening", "Settings", "SettingsInvalid", "load_settings", "read_listening", "value_files"]
