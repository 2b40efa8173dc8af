"""The page's files, served from memory."""

import importlib.resources
from pathlib import PurePath

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

# Not the system's own table: with "nosniff" a browser runs no script of another type.
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
_HEADERS = {
    # The page loads nothing from elsewhere, whatever a model's name or answer may hold.
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}


def routes() -> list[Route]:
    """`/`, which is index.html, and `/page/NAME` for each file, found by its name alone."""
    folder = importlib.resources.files("keras_medgen.serving.server") / "page"
    files = {
        file.name: Response(
            file.read_bytes(), media_type=_TYPES[PurePath(file.name).suffix], headers=_HEADERS
        )
        for file in folder.iterdir()
        if PurePath(file.name).suffix in _TYPES
    }

    def answering(response: Response):
        async def answer(request: Request) -> Response:
            return response

        return answer

    found = [Route(f"/page/{name}", answering(response)) for name, response in files.items()]
    if "index.html" in files:
        found.append(Route("/", answering(files["index.html"])))
    return found
