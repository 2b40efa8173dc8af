"""The models in a folder, their versions loaded, replaced and dropped while they serve."""

import contextlib
import gc
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

from keras_medgen.serving.server.errors import ServingError
from keras_medgen.serving.server.logs import log
from keras_medgen.serving.server.servable import Servable
from keras_medgen.serving.versions import fingerprint, model_folders, version_folders


class _Model:
    """A model's versions: those in memory, and what is known of the others."""

    def __init__(self):
        self.loaded: dict[int, Servable] = {}
        self.fingerprints: dict[int, tuple] = {}  # of what is loaded
        self.broken: dict[int, tuple] = {}  # from a version that does not load to its fingerprint
        self.seen: dict[int, tuple] = {}  # fingerprints at the last poll
        self.states: dict[int, dict] = {}
        self.gone = False

    def set_state(self, version: int, state: str, code: str = "OK", message: str = ""):
        self.states[version] = {
            "version": version,
            "state": state,
            "code": code,
            "message": message,
        }


class Repository:
    """Models by name and version.

    Of every model the highest version serves, as with TF Serving's default policy, and those that
    have a label. A new one is loaded beside the old one, which answers until then and is dropped
    when its last request is done. If the new one does not load, or the folder is gone, the old one
    keeps serving.

    Clients' names and versions are only ever looked up among those found: none becomes a path.

    Args:
        path: a model, that is a folder with version folders in it, whose names are whole numbers;
            or a folder of such models. Names that start with a dot, and versions that still
            change, are left alone.
        labels: from a label such as "stable" to the version, of every model, that it stands for.
        poll_seconds: between two looks at the folder. A version is loaded at the second look that
            finds the same files in it.

    Example:
    ```python
    repository = Repository("saved_models")
    repository.start()
    with repository.acquire("retina_vae") as servable:
        servable.run("serving_default", {"latents": latents})
    repository.stop()
    ```
    """

    def __init__(
        self, path: str | Path, labels: dict[str, int] | None = None, poll_seconds: float = 1.0
    ):
        self._path = Path(path).absolute()
        self._labels = dict(labels or {})
        self._poll_seconds = poll_seconds
        self._models: dict[str, _Model] = {}
        self._in_use: dict[Servable, int] = {}
        self._retired: list[tuple[_Model, int, Servable]] = []
        self._lock = threading.Lock()  # of all that is above, held for look-ups only
        self._poll_lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = None

    def start(self):
        """Loads what is there, and goes on looking in a thread.

        Raises:
            NotADirectoryError: if there is no such folder.
        """
        if not self._path.is_dir():
            raise NotADirectoryError(f"The folder of models must exist. Received: {self._path}.")
        self.poll(wait_for_changes=False)
        self._thread = threading.Thread(target=self._keep_polling, name="poll", daemon=True)
        self._thread.start()

    def stop(self):
        """Stops looking; what is loaded stays so."""
        self._stopped.set()
        if self._thread:
            self._thread.join()

    @contextlib.contextmanager
    def acquire(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> Iterator[Servable]:
        """Gives a version of a model, which stays loaded in the meantime.

        Args:
            name: of the model.
            version: int. Default: the highest that is loaded.
            label: in place of the version.

        Raises:
            ServingError: NOT_FOUND if it is not loaded; INVALID_ARGUMENT for an unknown label, as
                with TF Serving, or for version and label.
        """
        with self._lock:
            servable = self._find(name, version, label)
            self._in_use[servable] = self._in_use.get(servable, 0) + 1
        try:
            yield servable
        finally:
            with self._lock:
                self._in_use[servable] -= 1
                if not self._in_use[servable]:
                    del self._in_use[servable]

    def names(self) -> list[str]:
        """The models that serve."""
        with self._lock:
            return sorted(name for name, model in self._models.items() if model.loaded)

    def status(self, name: str, version: int | None = None, label: str | None = None) -> list[dict]:
        """What became of a model's versions, the highest first.

        Args:
            name: of the model.
            version: int. Default: all.
            label: in place of the version.

        Returns:
            Dicts of `version`, `state` ("LOADING", "AVAILABLE", "UNLOADING" or "END", which with a
            code other than "OK" means that it did not load), `code` and `message`.

        Raises:
            ServingError: NOT_FOUND if the model or the version never was there.
        """
        with self._lock:
            model = self._models.get(name)
            if not model or not model.states:
                raise ServingError("NOT_FOUND", f"There is no model {name[:100]!r}.")
            version = self._number(version, label)
            if version is None:
                return [dict(model.states[each]) for each in sorted(model.states, reverse=True)]
            if version not in model.states:
                raise ServingError("NOT_FOUND", f"Model {name!r} has no version {version}.")
            return [dict(model.states[version])]

    def problems(self) -> list[str]:
        """Why the server is not, or not wholly, ready; empty if it is."""
        with self._lock:
            problems = []
            for name, model in sorted(self._models.items()):
                for version in sorted(model.broken):
                    state = model.states[version]
                    problems.append(
                        f"Version {version} of {name!r} does not load: {state['message']}"
                    )
                if model.gone and model.loaded:
                    problems.append(f"The folder of {name!r} is gone; it serves from memory.")
                elif not model.loaded and not model.broken:
                    problems.append(f"No version of {name!r} is loaded.")
            if not any(model.loaded for model in self._models.values()):
                problems.insert(0, "No model is loaded.")
            return problems

    def poll(self, wait_for_changes: bool = True):
        """Looks once at the folder, and loads and drops what there is to.

        Args:
            wait_for_changes: leaves versions alone that changed since the last look, and may
                still be written.
        """
        with self._poll_lock:
            folders = model_folders(self._path)
            with self._lock:
                for name in folders:
                    self._models.setdefault(name, _Model())
                models = dict(self._models)
            for name, model in models.items():
                versions = version_folders(folders[name]) if name in folders else {}
                self._update(name, model, versions, wait_for_changes)
            self._end_unloaded()

    def _keep_polling(self):
        while not self._stopped.wait(self._poll_seconds):
            try:
                self.poll()
            except Exception:
                # Such as a file system that is away for a moment: what is loaded serves on.
                log("poll failed", logging.ERROR, exc_info=True)

    def _find(self, name: str, version: int | None, label: str | None) -> Servable:
        model = self._models.get(name)
        if not model:
            raise ServingError("NOT_FOUND", f"Servable not found: no model {name[:100]!r}.")
        if not model.loaded:
            raise ServingError("NOT_FOUND", f"Servable not found: no version of {name!r} loads.")
        version = self._number(version, label)
        if version is None:
            version = max(model.loaded)
        if version not in model.loaded:
            raise ServingError(
                "NOT_FOUND", f"Servable not found: {name!r} does not serve version {version}."
            )
        return model.loaded[version]

    def _number(self, version: int | None, label: str | None) -> int | None:
        if label is None:
            return version
        if version is not None:
            raise ServingError(
                "INVALID_ARGUMENT", "A request must name a version or a label, not both."
            )
        if label not in self._labels:
            raise ServingError("INVALID_ARGUMENT", f"There is no version label {label[:100]!r}.")
        return self._labels[label]

    def _update(self, name: str, model: _Model, versions: dict[int, Path], wait: bool):
        """Brings one model to the state that its folder asks for."""
        prints = {version: fingerprint(path) for version, path in versions.items()}
        settled = {
            version: found
            for version, found in prints.items()
            if found and (not wait or model.seen.get(version) == found)
        }
        model.seen = prints
        with self._lock:
            model.gone = not versions
            # A broken version is forgotten with its folder, and tried again once that changed.
            for version in [each for each in model.broken if each not in prints]:
                del model.broken[version]
        if not versions:
            return
        labelled = set(self._labels.values()) & prints.keys()
        for version in sorted(labelled, reverse=True):
            self._serves(name, model, version, versions, settled)
        wanted = set(labelled)
        for version in sorted(prints, reverse=True):
            if self._serves(name, model, version, versions, settled):
                wanted.add(version)
                break
        else:
            return  # no version of the folder loads: what is in memory serves on
        with self._lock:
            for version in model.loaded.keys() - wanted:
                self._retired.append((model, version, model.loaded.pop(version)))
                del model.fingerprints[version]
                model.set_state(version, "UNLOADING")

    def _serves(self, name, model, version, versions, settled) -> bool:
        """Whether a version is in memory, after it was loaded if that is due."""
        found = settled.get(version)
        if found and found == model.fingerprints.get(version):
            with self._lock:  # what was broken in place may have been put back
                model.broken.pop(version, None)
                model.set_state(version, "AVAILABLE")
        elif found and found != model.broken.get(version):
            self._load(name, model, version, versions[version], found)
        return version in model.loaded

    def _load(self, name: str, model: _Model, version: int, path: Path, found: tuple):
        replaces = version in model.loaded
        with self._lock:
            if not replaces:
                model.set_state(version, "LOADING")
        try:
            servable = Servable(name, version, path)
        except ServingError as error:
            with self._lock:
                model.broken[version] = found
                state = "AVAILABLE" if replaces else "END"
                model.set_state(version, state, error.code, error.message)
            log("version broken", logging.ERROR, model=name, version=version, code=error.code)
            return
        with self._lock:
            if replaces:
                self._retired.append((model, version, model.loaded[version]))
            model.loaded[version] = servable
            model.fingerprints[version] = found
            model.broken.pop(version, None)
            model.set_state(version, "AVAILABLE")
        log("version loaded", model=name, version=version)

    def _end_unloaded(self):
        """Drops the replaced versions whose last request is done."""
        with self._lock:
            done = [each for each in self._retired if each[2] not in self._in_use]
            self._retired = [each for each in self._retired if each[2] in self._in_use]
            for model, version, servable in done:
                if version not in model.loaded:
                    model.set_state(version, "END")
                log("version unloaded", model=servable.name, version=version)
        if done:
            del done, model, servable
            gc.collect()  # a loaded SavedModel refers to itself, and is large
