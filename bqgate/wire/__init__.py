"""Translate between BigQuery's JSON and the domain, purely. Nothing here does I/O.

The gate decodes with it what callers send, the bigquery room decodes with it what Google answers.
"""
