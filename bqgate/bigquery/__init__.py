"""Speak to BigQuery: the data plane's Upstream, and the few methods that the gate calls for itself.

``upstream.py`` sends calls and streams answers; ``credentials.py`` and ``service_account.py`` decide in whose name;
``jobs.py`` asks for dry runs and jobs; ``job_lists.py`` reads all jobs of a project for the sweep. Only app names these
classes; everybody else knows the ports.
"""
