"""`/`: the page where a person sees what the network sees, and the files it is made of."""

from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

WEB = Path(__file__).parent.parent / "web"

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; media-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Asked again each time, and answered 304 by the ETag: modules of two releases never mix.
    "Cache-Control": "no-cache",
}


class _PageFiles(StaticFiles):
    """Files with an ETag and the page's security headers."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response


_files = _PageFiles(directory=WEB)

files = GZipMiddleware(_files, minimum_size=1000)
"""What the page loads, to be mounted at `/web`."""

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page(request: Request) -> Response:
    """Answer the page, or 304 if the browser has it."""
    return await _files.get_response("index.html", request.scope)
