"""The dashboard: the page's files, and the API that they ask. `pages.py` adds them to the app.

Invariant: nothing here is asked by the pipeline; without a browser, it costs nothing.
"""

from collections.abc import Callable

from aiohttp import web

from tsync_stream.core.health import Health
from tsync_stream.observe.health_report import ReplicaView
from tsync_stream.settings.load import Settings
from tsync_stream.settings.secrets import Secret
from tsync_stream.web.answering import Handler
from tsync_stream.web.api import Api
from tsync_stream.web.overview import Here
from tsync_stream.web.static_files import INDEX, StaticFile, static_files, static_response


class Dashboard:
    """`settings()` are those in force, `bind()` is the address that the pages are on."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        health: Health,
        view_of: Callable[[], ReplicaView],
        bind: Callable[[], str],
    ) -> None:
        given = settings()
        self._token = token = Secret("API_TOKEN", given.api_token, given.api_token_file)
        self._api = Api(token, lambda: Here(settings(), health, view_of(), bool(token.value)), bind)

    def __repr__(self) -> str:
        return f"<Dashboard {self._api}>"

    def routes(self) -> list[web.RouteDef]:
        """What aiohttp serves: `/`, the files beside it, and the API."""
        files = static_files()
        places = {name: "/" if name == INDEX else f"/dashboard/{name}" for name in files}
        pages = [web.get(places[name], _serving(file)) for name, file in files.items()]
        return [*pages, *self._api.routes()]

    def take_up_token(self, token: str) -> None:
        """Ask for this one from now on."""
        self._token.offer(token)

    async def close(self) -> None:
        """Close the connections of the API."""
        await self._api.close()


def _serving(file: StaticFile) -> Handler:
    async def serve(request: web.Request) -> web.Response:
        return static_response(file, request.headers)

    return serve
