"""Make Google's own Python client for a project, pointed at a gate, and watch its HTTP requests go by.

The client is what pip installs; the watch is a hook of `requests`, which it uses, and changes nothing.
"""

from dataclasses import dataclass, field
from typing import Any

import requests
from google.api_core.client_options import ClientOptions
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials, Credentials
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY
from google.oauth2.credentials import Credentials as TokenCredentials

_TRIES_MAX = 3


def short_retry() -> Retry:
    """The client's own default for one call, in miniature: after milliseconds, and it gives up at the third failure.

    By number and not by time, so that a slow machine sees as many tries as a quick one.
    """
    failures = 0

    def tries_again(error: Exception) -> bool:
        nonlocal failures
        failures += 1
        return failures < _TRIES_MAX and bool(DEFAULT_RETRY._predicate(error))

    return DEFAULT_RETRY.with_delay(initial=0.02, maximum=0.1, multiplier=2).with_predicate(tries_again)


@dataclass
class Watch:
    """The answers that a client got, as (verb, path, status)."""

    seen: list[tuple[str, str, int]] = field(default_factory=list)
    last_headers: dict[str, str] = field(default_factory=dict)

    def on_answer(self, response: requests.Response, *_: Any, **__: Any) -> None:
        request = response.request
        self.seen.append((request.method or "", request.path_url.partition("?")[0], response.status_code))
        self.last_headers = dict(response.headers)

    def posts(self, ending: str) -> list[int]:
        """Statuses of the POST requests to paths with this ending."""
        return [status for verb, path, status in self.seen if verb == "POST" and path.endswith(ending)]


def anonymous() -> Credentials:
    """No credential at all."""
    return AnonymousCredentials()  # type: ignore[no-untyped-call]  # google-auth has no annotations


def python_client(
    url: str, project: str, *, credentials: Credentials | None = None, watch: Watch | None = None
) -> bigquery.Client:
    """A client as the documentation of the gate tells users to make it."""
    client = bigquery.Client(project, credentials or anonymous(), client_options=ClientOptions(api_endpoint=url))
    if watch is not None:
        client._http.hooks["response"].append(watch.on_answer)
    return client


def token_credentials(token: str = "a-token") -> TokenCredentials:
    """Credentials with an access token that cannot be renewed, as gcloud prints one."""
    return TokenCredentials(token)  # type: ignore[no-untyped-call]  # google-auth has no annotations
