"""Keeping back the warnings of decoders, which say what the report says."""

import contextlib
import re
import threading
import warnings

# warnings.catch_warnings would leave the wrong filters behind where several threads read.
_SILENT = ("ignore", None, Warning, re.compile(r"(pydicom|PIL)\b"), 0)
_lock = threading.Lock()
_depth = 0


@contextlib.contextmanager
def quiet():
    """Keeps warnings of pydicom (they quote tags) and Pillow back, in all threads meanwhile."""
    global _depth
    with _lock:
        _depth += 1
        if _SILENT not in warnings.filters:
            warnings.filters.insert(0, _SILENT)
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if not _depth and _SILENT in warnings.filters:
                warnings.filters.remove(_SILENT)
