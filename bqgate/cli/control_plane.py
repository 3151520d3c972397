"""Speak the control plane's admin API: log in, send, read answers and problems.

Made by client for the commands keys, tiers and customers. Synchronous, over requests. Who has a key file that this
gate issued logs in at the file's `token_uri` by google-auth, as every other client does. What leaves: Documents, or
Refused with a sentence that says what to do next. No sentence quotes a credential.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import requests
from google.auth.exceptions import GoogleAuthError, RefreshError
from google.auth.transport.requests import Request as GoogleRequest
from google.oauth2 import service_account
from requests.auth import AuthBase
from urllib3.exceptions import LocationParseError

# To connect, and for the answer; the gate's own stores give up after 5 s.
_PATIENCE_S = (10, 60)
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"

_WHAT_NEXT = {
    401: "Give --key-file or BQGATE_KEY_FILE (a key file of this gate), or BQGATE_TOKEN. Where there is no key yet, or "
    "the last one is lost: `bqgate keys create --role super_admin --local --config FILE`, where the ledger is.",
    403: "Ask with a key of the role admin; keys of admins want a super_admin.",
    412: "Somebody else changed it meanwhile: look at it again, then repeat the command.",
}


class Refused(Exception):
    """The gate said no, or did not answer; the message is for the terminal. `status` 0: no answer of the gate's."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Document:
    """What the API answered, and the version by which it can be changed."""

    content: dict[str, Any]
    etag: str | None
    status: int = 200


class Answered(dict[str, Any]):
    """The JSON object of an answer. A member that every control plane sends, and this one did not, ends the command."""

    def __init__(self, content: Mapping[str, Any], url: str) -> None:
        super().__init__(content)
        self._url = url

    def __missing__(self, name: str) -> Any:
        raise Refused(_stranger(self._url, f"without {name!r}"))


class ControlPlane:
    """The admin API of one gate.

    Args:
        url: where its control plane listens ("https://gate:8443").
        token: a static token or access token, None: none is sent.
        key_file: a service-account JSON that the gate issued, parsed; logged in with at once.

    Raises:
        Refused: the key file is none, or the gate does not take it.
    """

    def __init__(self, url: str, *, token: str | None = None, key_file: Mapping[str, Any] | None = None) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.headers["Accept"] = "application/json"
        # Set even without a token: requests would otherwise send what ~/.netrc has for the host.
        self._session.auth = _Bearer(token)
        if key_file is not None:
            self._session.auth = _Bearer(self._log_in(key_file))

    def read(self, path: str, **parameters: str) -> Document:
        """GET a document.

        Raises:
            Refused: it is not there, or the gate did not answer with it.
        """
        return self._send("GET", path, parameters=parameters)

    def find(self, path: str) -> Document | None:
        """GET a document, None where there is none.

        Raises:
            Refused: any other problem.
        """
        try:
            return self.read(path)
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def items(self, path: str, name: str, **wanted: str) -> Iterator[dict[str, Any]]:
        """Every item of a collection, page by page. `name` is the member that holds them ("keys").

        Raises:
            Refused: as `read`.
        """
        parameters = wanted
        while True:
            page = self.read(path, **parameters).content
            items = page[name]
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise Refused(_stranger(self._url, f"with something else as {name!r}"))
            yield from (Answered(item, self._url) for item in items)
            if not page.get("next_page_token"):
                return
            parameters = wanted | {"page_token": page["next_page_token"]}

    def change(
        self, method: str, path: str, document: Mapping[str, Any] | None = None, *, etag: str | None = None
    ) -> Document:
        """POST, PATCH, PUT or DELETE. `etag`: only where it still is what it was when it was read.

        Raises:
            Refused: nothing was changed, or, without an answer, that is unknown.
        """
        return self._send(method, path, document=document, headers={} if etag is None else {"If-Match": etag})

    def close(self) -> None:
        """Give back the connection."""
        self._session.close()

    def _send(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        document: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Document:
        try:
            answer = self._session.request(
                method,
                self._url + path,
                params=parameters,
                json=document,
                headers=headers,
                timeout=_PATIENCE_S,
                allow_redirects=False,  # the gate sends nobody elsewhere; a credential follows no stranger
            )
        except (requests.RequestException, LocationParseError) as error:
            raise Refused(_silence(self._url, error)) from None
        except OSError as error:  # the file of authorities that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names
            raise Refused(f"{self._url} cannot be asked: {error}") from None
        content = _content_of(answer)
        is_whole = content is not None and (bool(content) or method == "DELETE")
        if answer.ok and content is not None and is_whole and not answer.is_redirect:
            return Document(Answered(content, self._url), answer.headers.get("ETag"), answer.status_code)
        raise _refused(self._url, answer, content)

    def _log_in(self, key_file: Mapping[str, Any]) -> str:
        """An access token for a key file."""
        try:
            credentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]  # google-auth is untyped here
                key_file, scopes=[_SCOPE]
            )
        except ValueError:
            raise Refused("The key file is no service-account JSON as `bqgate keys create` writes it.") from None
        try:
            credentials.refresh(GoogleRequest(self._session))
        except RefreshError as error:
            raise Refused(
                f"{key_file.get('token_uri')} does not take this key: {_login_fault(error)}. {_WHAT_NEXT[401]}",
                status=401,
            ) from None
        except GoogleAuthError:
            raise Refused(
                f"Nobody answers at {key_file.get('token_uri')}, the token_uri of the key file. Is the gate running, "
                "and is identity.public_url how it is reached from here?"
            ) from None
        return str(credentials.token)


class _Bearer(AuthBase):
    """Sends a token with each request, or none."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _content_of(answer: requests.Response) -> dict[str, Any] | None:
    """The JSON object of an answer, an empty one for an empty body, None for anything else."""
    if not answer.content:
        return {}
    try:
        content = answer.json()
    except requests.JSONDecodeError:
        return None
    return content if isinstance(content, dict) else None


def _refused(url: str, answer: requests.Response, content: dict[str, Any] | None) -> Refused:
    if content is None or "detail" not in content:
        return Refused(_stranger(url, str(answer.status_code)))
    faults = [f"{fault.get('field') or 'the document'}: {fault.get('message')}" for fault in content.get("errors", ())]
    # The detail of a single fault is that fault.
    said = [str(content["detail"]), *(faults if len(faults) > 1 else ())]
    if answer.status_code == 429 and "Retry-After" in answer.headers:
        said.append(f"Try again in {answer.headers['Retry-After']} s.")
    if answer.status_code in _WHAT_NEXT:
        said.append(_WHAT_NEXT[answer.status_code])
    return Refused("\n  ".join(said), status=answer.status_code)


def _stranger(url: str, what: str) -> str:
    """What is said of an answer that no gate gives."""
    return (
        f"{url} answered {what}, but not as a control plane of bqgate does. Is it the right address "
        "(--url or BQGATE_URL), and the control plane's port?"
    )


def _silence(url: str, error: requests.RequestException | LocationParseError) -> str:
    match error:
        case requests.exceptions.SSLError():
            return f"The certificate of {url} is not trusted here; name its authority's file in REQUESTS_CA_BUNDLE."
        case requests.exceptions.ReadTimeout():
            return f"{url} did not answer within {_PATIENCE_S[1]} s; whether it did the work is unknown."
        case requests.exceptions.ChunkedEncodingError() | requests.exceptions.ContentDecodingError():
            return f"{url} broke off in the middle of its answer; whether it did the work is unknown."
        case requests.exceptions.ProxyError():
            return f"The proxy towards {url} does not answer. See HTTP_PROXY, HTTPS_PROXY and NO_PROXY."
        case _:
            return f"Nobody answers at {url}. Is the gate running there? --url or BQGATE_URL say where it is."


def _login_fault(error: RefreshError) -> str:
    """What the token endpoint said (RFC 6749 section 5.2), without the rest of google-auth's message."""
    answered = error.args[1] if len(error.args) > 1 else None
    if isinstance(answered, str):
        try:
            answered = json.loads(answered)
        except ValueError:
            answered = None
    if isinstance(answered, dict) and answered.get("error"):
        return str(answered.get("error_description") or answered["error"]).rstrip(".")
    return "it answered as no gate does"
