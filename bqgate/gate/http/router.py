"""Match a path to its route in a time that grows with the path's length.

Used by app for both planes. aiohttp's own router looks up every beginning of a path, and hashes each: a path of 32 KiB
with 16,000 slashes keeps the event loop for a tenth of a second, before anybody knows who asks.
"""

import warnings

from aiohttp import web
from aiohttp.web_urldispatcher import MatchInfoError, UrlMappingMatchInfo

# The longest path that either plane knows has 14 segments.
_SLASHES_MAX = 64
_OF_BIGQUERY = "/bigquery/v2/"


class LinearRouter(web.UrlDispatcher):
    """aiohttp's router, which tries the resources one by one for a path of very many segments."""

    _direct: web.AbstractRoute | None = None

    def lead(self, route: web.AbstractRoute) -> None:
        """Lead to a route all that can be no other's: BigQuery's own paths, which nearly every request has."""
        self._direct = route

    async def resolve(self, request: web.Request) -> UrlMappingMatchInfo:
        """The route of a request."""
        if self._direct is not None and request.rel_url.raw_path.startswith(_OF_BIGQUERY):
            return UrlMappingMatchInfo({}, self._direct)
        if request.rel_url.raw_path.count("/") <= _SLASHES_MAX:
            return await super().resolve(request)
        for resource in self.resources():
            found, _ = await resource.resolve(request)
            if found is not None:
                return found
        return MatchInfoError(web.HTTPNotFound())


def new_application() -> web.Application:
    """An application with this router."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the argument, which has no successor
        return web.Application(router=LinearRouter())
