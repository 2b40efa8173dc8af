"""TF Serving's REST API as an ASGI application.

It is described in https://www.tensorflow.org/tfx/serving/api_rest.
"""

import asyncio
import concurrent.futures
import functools
import json
import logging
import re
import time

import prometheus_client
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from keras_medgen.serving.server import json_tensors, page_files
from keras_medgen.serving.server.bodies import BodyReader, LingeringResponse, UnreadBodyError
from keras_medgen.serving.server.errors import ServingError, invalid
from keras_medgen.serving.server.limits import Limits
from keras_medgen.serving.server.logs import log
from keras_medgen.serving.server.metrics import Metrics
from keras_medgen.serving.server.predictor import Predictor
from keras_medgen.serving.server.repository import Repository
from keras_medgen.serving.server.servable import Servable

_TARGET = re.compile(
    r"(?P<name>[^/:]+)"
    r"(?:/versions/(?P<version>[0-9]{1,19})|/labels/(?P<label>[^/:]+))?"
    r"(?P<verb>/metadata|:predict|:classify|:regress)?"
)
# From here on the conversion of JSON would hold up the other requests' sockets.
_LARGE_BYTES = 2**18
_JSON = "application/json"


def application(
    predictor: Predictor, repository: Repository, limits: Limits, metrics: Metrics
) -> Starlette:
    """The REST API, the page, and what a supervisor asks for.

    Beside TF Serving's own paths there are `GET /v1/models`, the models' names; `/metrics` for
    Prometheus; `/health`, 200 as long as the process answers; `/ready`, 503 with the reasons where
    no model is loaded or a version does not load; and `/`, the page.

    Args:
        predictor: runs the requests.
        repository: of the models.
        limits: of bodies and times.
        metrics: counts the requests.
    """
    api = _API(predictor, repository, limits, metrics)
    return Starlette(
        routes=[
            Route("/v1/models", api.models),
            Route("/v1/models/{target:path}", api.models_target, methods=["GET", "POST"]),
            Route("/metrics", api.metrics_text),
            Route("/health", api.health),
            Route("/ready", api.ready),
            *page_files.routes(),
        ],
        exception_handlers={404: _http_error, 405: _http_error},
    )


class _API:
    def __init__(self, predictor, repository, limits, metrics):
        self._predictor = predictor
        self._repository = repository
        self._limits = limits
        self._metrics = metrics
        self._bodies = BodyReader(limits)
        self._converter = concurrent.futures.ThreadPoolExecutor(1, "json")

    async def models(self, request: Request) -> Response:
        """Extension: the names of the models that serve."""
        return JSONResponse({"models": self._repository.names()})

    async def health(self, request: Request) -> Response:
        """Whether the process answers."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """Whether all models serve, and the reasons if not."""
        problems = self._repository.problems()
        body = {"status": "not ready" if problems else "ready", "problems": problems}
        return JSONResponse(body, 503 if problems else 200)

    async def metrics_text(self, request: Request) -> Response:
        """What Prometheus scrapes."""
        return Response(self._metrics.text(), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    async def models_target(self, request: Request) -> Response:
        """Status, metadata and predictions: all that TF Serving's documentation has."""
        start = time.perf_counter()
        method, code = "other", "OK"
        try:
            method, target = _parse_target(request)
            if method == "predict":
                response = await self._predict(request, *target)
            elif method == "metadata":
                with self._repository.acquire(*target) as servable:
                    response = Response(_metadata(servable), media_type=_JSON)
            else:
                response = self._status(*target)
        except ServingError as error:
            code = error.code
            response = _error_response(error)
        except Exception:
            code = "INTERNAL"
            log("request failed", logging.ERROR, exc_info=True, method=method)
            response = _error_response(ServingError("INTERNAL", "The server failed on this."))
        seconds = time.perf_counter() - start
        self._metrics.observe_request("rest", method, code, seconds)
        log(
            "request",
            method=request.method,
            path=request.url.path[:200],
            status=response.status_code,
            code=code,
            seconds=round(seconds, 6),
        )
        return response

    async def _predict(self, request, name, version, label) -> Response:
        loop, end = asyncio.get_running_loop(), time.monotonic() + self._limits.timeout_seconds
        async with self._bodies.read(request) as body:
            convert = functools.partial(self._read, body, name, version, label)
            if len(body) < _LARGE_BYTES:
                asked, inputs = convert()
            else:
                asked, inputs = await loop.run_in_executor(self._converter, convert)
            prediction = self._predictor.submit(
                *(name, version, label, asked.signature_name, inputs), end - time.monotonic()
            )
            del inputs
            outputs = await self._result(request, prediction, end - time.monotonic())
            write = functools.partial(json_tensors.to_body, outputs, asked.row_format)
            if sum(array.nbytes for array in outputs.values()) < _LARGE_BYTES:
                answer = write()
            else:
                answer = await loop.run_in_executor(self._converter, write)
        return Response(answer, media_type=_JSON)

    def _read(self, body: bytes, name, version, label):
        asked = json_tensors.parse(body)
        signature = self._predictor.signature(name, version, label, asked.signature_name)
        return asked, json_tensors.to_inputs(asked, signature)

    async def _result(self, request: Request, prediction, timeout: float):
        """The outputs, unless the time is up or the client leaves before."""
        outputs = asyncio.wrap_future(prediction)
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait(
                (outputs, gone), timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if outputs.done():
                return outputs.result()
            if gone.done():
                raise ServingError("CANCELLED", "The client left.")
            raise ServingError(
                "DEADLINE_EXCEEDED",
                f"The request took longer than {self._limits.timeout_seconds:g} seconds.",
            )
        finally:
            outputs.cancel()  # and with it the prediction, which is not run if it still waits
            gone.cancel()

    def _status(self, name, version, label) -> Response:
        states = self._repository.status(name, version, label)
        body = [
            {
                "version": str(state["version"]),
                "state": state["state"],
                "status": {"error_code": state["code"], "error_message": state["message"]},
            }
            for state in states
        ]
        return JSONResponse({"model_version_status": body})


def _parse_target(request: Request):
    """What is asked, and of which model: (name, version, label)."""
    match = _TARGET.fullmatch(request.path_params["target"])
    verb = match["verb"] or "" if match else ""
    posted = request.method == "POST"
    if not match or posted != verb.startswith(":"):
        raise invalid(f"Malformed request: {request.method} {request.url.path[:200]}")
    if verb in (":classify", ":regress"):
        raise ServingError("UNIMPLEMENTED", f"This server has no {verb[1:]}: use predict.")
    version = int(match["version"]) if match["version"] else None
    return verb[1:] or "status", (match["name"], version, match["label"])


async def _disconnected(request: Request):
    """Returns when the client has left; the body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _metadata(servable: Servable) -> bytes:
    signatures = {
        name: json_format.MessageToDict(
            definition,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        for name, definition in sorted(servable.signature_def_map.items())
    }
    spec = {"name": servable.name, "signature_name": "", "version": str(servable.version)}
    metadata = {"signature_def": {"signature_def": signatures}}
    return json.dumps({"model_spec": spec, "metadata": metadata}, indent=1).encode()


def _error_response(error: ServingError) -> Response:
    kind = LingeringResponse if isinstance(error, UnreadBodyError) else JSONResponse
    return kind({"error": error.message}, error.http_status)


async def _http_error(request: Request, error) -> Response:
    message = f"{error.detail}: {request.method} {request.url.path[:200]}"
    return JSONResponse({"error": message}, error.status_code)
