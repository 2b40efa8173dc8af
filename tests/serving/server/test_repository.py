import gc
import shutil
import threading
import time
import weakref

import numpy as np
import pytest

from keras_medgen.serving.server.errors import ServingError
from keras_medgen.serving.server.repository import Repository
from tests.serving.server import tiny_model

X = {"x": np.array([0], np.float32)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """SavedModels that answer 1, 2 and 3, to be copied."""
    folder = tmp_path_factory.mktemp("saved")
    for version in (1, 2, 3):
        tiny_model.save(folder / str(version), version)
    return folder


@pytest.fixture
def model(tmp_path, saved):
    """A model whose one version is 1."""
    shutil.copytree(saved / "1", tmp_path / "tiny" / "1")
    return tmp_path / "tiny"


@pytest.fixture
def repository(model):
    repository = Repository(model.parent, poll_seconds=1e6)
    repository.start()
    yield repository
    repository.stop()


def add(saved, folder, version, answer):
    """As an export does it: beside, then renamed."""
    beside = folder / f".{version}-half"
    shutil.copytree(saved / str(answer), beside)
    beside.rename(folder / str(version))


def break_version(folder, version):
    path = folder / str(version)
    path.mkdir(parents=True, exist_ok=True)
    (path / "saved_model.pb").write_bytes(b"no model")


def poll(repository):
    """Twice: what is new is loaded once it stays as it is."""
    repository.poll()
    repository.poll()


def answer(repository, *which):
    with repository.acquire("tiny", *which) as servable:
        return servable.run("which", X)["version"].item()


def states(repository):
    return {each["version"]: each["state"] for each in repository.status("tiny")}


def test_a_new_version_takes_over_and_the_old_one_ends(repository, model, saved):
    assert (answer(repository), states(repository)) == (1, {1: "AVAILABLE"})
    add(saved, model, 2, answer=2)
    repository.poll()
    assert answer(repository) == 1  # it may still be written
    repository.poll()
    assert (answer(repository), states(repository)) == (2, {2: "AVAILABLE", 1: "END"})
    with pytest.raises(ServingError, match=r"NOT_FOUND.*does not serve version 1"):
        answer(repository, 1)
    assert repository.problems() == []


def test_a_version_in_use_is_drained(repository, model, saved):
    with repository.acquire("tiny") as servable:
        add(saved, model, 2, answer=2)
        poll(repository)
        assert states(repository) == {2: "AVAILABLE", 1: "UNLOADING"}
        shutil.rmtree(model / "1")
        poll(repository)
        assert servable.run("which", X)["version"].item() == 1
        assert answer(repository) == 2
    repository.poll()
    assert states(repository) == {2: "AVAILABLE", 1: "END"}


def test_an_unloaded_version_leaves_the_memory(repository, model, saved):
    with repository.acquire("tiny") as servable:
        gone = weakref.ref(servable)
    del servable
    add(saved, model, 2, answer=2)
    gc.disable()
    try:
        poll(repository)
        assert gone() is None
    finally:
        gc.enable()


def test_versions_count_as_numbers(repository, model, saved):
    add(saved, model, 9, answer=2)
    add(saved, model, "010", answer=3)
    poll(repository)
    assert answer(repository) == answer(repository, 10) == 3


def test_what_is_no_version_is_ignored(repository, model, saved):
    for name in (".7", "7.0", "-7", "latest", "\u0667", "7-half", str(2**63)):
        shutil.copytree(saved / "2", model / name)
    (model / "8").write_text("a file")
    (model / "9").mkdir()
    (model.parent / "notes").mkdir()
    (model.parent / ".hidden" / "1").mkdir(parents=True)
    poll(repository)
    assert answer(repository) == 1
    assert repository.names() == ["tiny"]
    assert states(repository) == {1: "AVAILABLE"}
    assert repository.problems() == []


def test_a_broken_version_is_reported_and_the_old_one_serves(repository, model):
    break_version(model, 2)
    poll(repository)
    assert answer(repository) == 1
    one = repository.status("tiny", 2)[0]
    assert (one["state"], one["code"]) == ("END", "UNKNOWN")
    assert "no SavedModel that loads" in one["message"]
    assert states(repository) == {1: "AVAILABLE", 2: "END"}
    (problem,) = repository.problems()
    assert problem.startswith("Version 2 of 'tiny' does not load: ")
    shutil.rmtree(model / "2")
    poll(repository)
    assert repository.problems() == []


def test_a_broken_version_is_tried_again_only_when_it_changed(
    repository, model, saved, monkeypatch
):
    tried = []
    load = repository._load
    monkeypatch.setattr(repository, "_load", lambda *a: (tried.append(a[2]), load(*a)))
    break_version(model, 2)
    for _ in range(5):
        repository.poll()
    assert tried == [2]
    shutil.copytree(saved / "2", model / "2", dirs_exist_ok=True)
    poll(repository)
    assert tried == [2, 2]
    assert answer(repository) == 2
    assert repository.problems() == []


def test_variables_that_are_missing_are_a_broken_version(repository, model, saved):
    add(saved, model, 2, answer=2)
    shutil.rmtree(model / "2" / "variables")
    poll(repository)
    assert answer(repository) == 1
    assert repository.status("tiny", 2)[0]["code"] != "OK"


def test_a_version_that_is_still_copied_waits(repository, model, saved):
    path = model / "2"
    path.mkdir()
    for size in (10, 20, 30):
        (path / "saved_model.pb").write_bytes(b"x" * size)
        repository.poll()
    assert states(repository) == {1: "AVAILABLE"}
    shutil.copytree(saved / "2", path, dirs_exist_ok=True)
    poll(repository)
    assert answer(repository) == 2


def test_at_the_start_the_highest_that_loads_serves(model, saved):
    add(saved, model, 2, answer=2)
    break_version(model, 3)
    repository = Repository(model, poll_seconds=1e6)
    repository.start()
    assert answer(repository) == 2
    assert len(repository.problems()) == 1
    repository.stop()


def test_going_back_to_an_older_version(repository, model, saved):
    add(saved, model, 2, answer=2)
    poll(repository)
    (model / "2").rename(model / ".2")
    poll(repository)
    assert answer(repository) == 1
    assert states(repository) == {2: "END", 1: "AVAILABLE"}


def test_a_model_that_is_gone_serves_from_memory(repository, model, saved):
    model.rename(model.with_name(".gone"))
    poll(repository)
    assert answer(repository) == 1
    assert repository.problems() == ["The folder of 'tiny' is gone; it serves from memory."]
    shutil.copytree(saved / "2", model / "1")
    poll(repository)
    assert (answer(repository), repository.problems()) == (2, [])


def test_a_version_replaced_in_place_that_breaks_leaves_the_old_one(repository, model, saved):
    break_version(model, 1)
    poll(repository)
    assert answer(repository) == 1
    assert states(repository) == {1: "AVAILABLE"}
    assert len(repository.problems()) == 1
    shutil.rmtree(model / "1")
    add(saved, model, 1, answer=3)
    poll(repository)
    assert (answer(repository), repository.problems()) == (3, [])


def test_labels_keep_their_versions(model, saved):
    add(saved, model, 2, answer=2)
    add(saved, model, 3, answer=3)
    repository = Repository(model, labels={"stable": 2, "lost": 7}, poll_seconds=1e6)
    repository.start()
    assert [answer(repository), answer(repository, None, "stable")] == [3, 2]
    assert answer(repository, 2) == 2
    assert states(repository) == {3: "AVAILABLE", 2: "AVAILABLE"}
    for label, code in (("lost", "NOT_FOUND"), ("nonesuch", "INVALID_ARGUMENT")):
        with pytest.raises(ServingError, match=code):
            answer(repository, None, label)
    with pytest.raises(ServingError, match="not both"):
        answer(repository, 2, "stable")
    repository.stop()


def test_a_folder_without_models_is_not_ready_until_one_comes(tmp_path, saved):
    repository = Repository(tmp_path, poll_seconds=1e6)
    repository.start()
    assert repository.problems() == ["No model is loaded."]
    assert repository.names() == []
    with pytest.raises(ServingError, match="NOT_FOUND"):
        repository.status("tiny")
    shutil.copytree(saved / "1", tmp_path / "tiny" / "1")
    poll(repository)
    assert (answer(repository), repository.problems()) == (1, [])
    repository.stop()


def test_a_model_of_broken_versions_is_told_from_none(tmp_path, saved):
    shutil.copytree(saved / "1", tmp_path / "tiny" / "1")
    break_version(tmp_path / "broken", 1)
    repository = Repository(tmp_path, poll_seconds=1e6)
    repository.start()
    assert repository.names() == ["tiny"]
    with (
        pytest.raises(ServingError, match="no version of 'broken' loads"),
        repository.acquire("broken"),
    ):
        pass
    assert repository.status("broken")[0]["state"] == "END"
    assert answer(repository) == 1
    repository.stop()


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(NotADirectoryError, match="must exist"):
        Repository(tmp_path / "nonesuch").start()


@pytest.mark.parametrize("name", ["..", ".", "../tiny", "tiny/1", "/etc", "", "tiny\0"])
def test_only_names_that_were_found_are_served(repository, name):
    with pytest.raises(ServingError, match="NOT_FOUND"), repository.acquire(name):
        pass


def test_no_request_fails_while_versions_are_replaced(model, saved):
    repository = Repository(model.parent, poll_seconds=0.02)
    repository.start()
    stop, failures, answers = threading.Event(), [], set()

    def ask():
        while not stop.is_set():
            try:
                answers.add(answer(repository))
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    # The same number replaced whole, and then the model's whole folder.
    for replaced, content in ((model / "1", 2), (model, 3)):
        beside = model.parent / f".beside-{content}"
        shutil.copytree(saved / str(content), beside / "1" if replaced == model else beside)
        replaced.rename(model.parent / f".old-{content}")
        beside.rename(replaced)
        deadline = time.monotonic() + 10
        while answer(repository) != content and time.monotonic() < deadline:
            time.sleep(0.01)
        assert answer(repository) == content
    stop.set()
    for thread in threads:
        thread.join()
    repository.stop()
    assert failures == []
    assert answers == {1, 2, 3}
