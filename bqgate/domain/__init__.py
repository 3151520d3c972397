"""Hold the rules: money, prices, budgets, decisions, holds. Pure functions on frozen values.

The lowest band. Everything above may import it; it imports nothing of ours, reads no clock and does no I/O, so
every rule of money can be tested by calling it. Money is whole nano-dollars; bytes are whole bytes.
"""
