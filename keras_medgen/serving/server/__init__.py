"""The built-in server: TF Serving's REST and gRPC interfaces in one Python process."""

import importlib.util

_NEEDED = ("grpc", "orjson", "prometheus_client", "starlette", "tensorflow_serving", "uvicorn")
_MISSING = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
if _MISSING:
    raise ImportError(
        f"The built-in server needs the extra 'serve': pip install 'keras_medgen[serve]'. "
        f"Missing: {', '.join(_MISSING)}."
    )
