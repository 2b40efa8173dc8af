"""Every signature of every model, by three loaders that know nothing of this package.

Python's `tf.saved_model.load` where Keras cannot be imported, `saved_model_cli run`, and
TensorFlow's C++ loader from a small C program. Each takes all exports in one process, for each
start takes seconds.
"""

import io
import json
import shutil
import struct
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

import keras_medgen as kmg
from tests.models.contract import MODELS
from tests.serving.small_models import CLASSES, CONDITIONAL, NAMES, small_model

ROWS = (1, 7)
CLASS_NAMES = ["normal", "tumour", "Blutung"]


@pytest.fixture(scope="module")
def models():
    assert set(CONDITIONAL) == set(MODELS)
    return {name: small_model(name) for name in NAMES}


@pytest.fixture(scope="module")
def exports(models, tmp_path_factory):
    """From the name of each model to its export."""
    folder = tmp_path_factory.mktemp("exports")
    return {
        name: kmg.serving.export(
            model,
            folder / str(number),
            class_names=None if model.num_classes is None else CLASS_NAMES,
        )
        for number, (name, model) in enumerate(models.items())
    }


@pytest.fixture(scope="module")
def jobs(exports, tmp_path_factory):
    """(model, signature, rows) with a folder that holds the inputs, each as name.npy.

    The one row of batch 1 is the first of batch 7.
    """
    folder = tmp_path_factory.mktemp("jobs")
    random = np.random.default_rng(0)
    rows, classes = max(ROWS), np.arange(max(ROWS)) % CLASSES
    values = {
        "latents": lambda shape: random.standard_normal((rows, *shape[1:]), np.float32),
        "images": lambda shape: random.random((rows, *shape[1:]), np.float32),
        "labels": lambda shape: np.eye(CLASSES, dtype=np.float32)[classes],
        "label": lambda shape: classes.astype(np.int32),
        "seed": lambda shape: np.arange(5, 5 + rows, dtype=np.int32),
        "image_bytes": lambda shape: np.array([picture(random) for _ in range(rows)]),
    }
    jobs = {}
    for name, path in exports.items():
        signatures = json.loads((path / "assets.extra/model.json").read_text())["signatures"]
        for signature, described in signatures.items():
            arrays = {key: values[key](spec["shape"]) for key, spec in described["inputs"].items()}
            for count in ROWS:
                jobs[name, signature, count] = place = folder / str(len(jobs))
                place.mkdir()
                for key, array in arrays.items():
                    np.save(place / f"{key}.npy", array[:count])
    return jobs


def picture(random):
    file = io.BytesIO()
    size = random.integers(10, 40, 2)
    Image.fromarray(random.integers(0, 256, size, np.uint8)).save(file, "PNG")
    return file.getvalue()


def inputs(place):
    return {path.stem: np.load(path) for path in place.glob("*.npy")}


def run_python(script, *arguments):
    """Runs a script in a Python of its own; what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


WITHOUT_KERAS = """
    import sys
    for name in ("keras", "tf_keras", "keras_medgen"):
        sys.modules[name] = None
    import json
    import pathlib
    import numpy as np
    import tensorflow as tf

    loaded = {}
    for export, signature, place in json.load(open(sys.argv[1])):
        if export not in loaded:
            loaded[export] = tf.saved_model.load(export)
        place = pathlib.Path(place)
        given = {path.stem: tf.constant(np.load(path)) for path in place.glob("*.npy")}
        outputs = loaded[export].signatures[signature](**given)
        # Strings of a fixed length: none of them ends with a 0, which that would lose.
        arrays = {k: v.numpy() for k, v in outputs.items()}
        arrays = {k: v.astype(bytes) if v.dtype == object else v for k, v in arrays.items()}
        np.savez(place / "python.npz", **arrays)
"""


@pytest.fixture(scope="module")
def by_python(exports, jobs, tmp_path_factory):
    """What Python's loader makes of the inputs of each job."""
    listed = tmp_path_factory.mktemp("python") / "jobs.json"
    content = [
        [str(exports[name]), signature, str(jobs[name, signature, rows])]
        for name, signature, rows in jobs
    ]
    listed.write_text(json.dumps(content))
    run_python(WITHOUT_KERAS, listed)
    found = {}
    for job, place in jobs.items():
        with np.load(place / "python.npz") as file:
            found[job] = {key: file[key] for key in file.files}
    return found


class TestPython:
    @pytest.mark.parametrize("name", NAMES)
    def test_the_export_is_the_model(self, models, jobs, by_python, name):
        model = models[name]

        def given(signature):
            return inputs(jobs[name, signature, 7])

        def check(signature, expected):
            for key, value in expected.items():
                found = by_python[name, signature, 7][key]
                np.testing.assert_allclose(found, value, atol=1e-4)

        check("serving_default", {"images": model.decode(**given("serving_default"))})
        if hasattr(model, "encode"):
            check("encode", model.encode(**given("encode")))
            check("reconstruct", {"images": model.reconstruct(**given("reconstruct"))})
        if model.num_classes is not None:
            names = [CLASS_NAMES[label].encode() for label in given("class_name")["label"]]
            assert by_python[name, "class_name", 7]["name"].tolist() == names

    def test_a_row_does_not_depend_on_the_others(self, by_python):
        for (name, signature, rows), outputs in by_python.items():
            for key, value in outputs.items():
                if value.dtype == np.float32:
                    one = by_python[name, signature, 1][key]
                    message = f"{name} {signature} {key} {rows}"
                    np.testing.assert_allclose(value[:1], one, atol=1e-4, err_msg=message)

    def test_types_and_rows(self, by_python):
        for (name, signature, rows), outputs in by_python.items():
            for key, value in outputs.items():
                assert len(value) == rows, (name, signature, key)
                assert value.dtype == np.float32 or value.dtype.kind == "S"
                # What is binary must be called so, or a server's JSON would take it for text.
                assert value.dtype == np.float32 or key in ("image_bytes", "name")
                assert value.dtype.kind == "S" or np.isfinite(value).all()


CLI = """
    import json
    import sys
    import types
    import tensorflow as tf
    from tensorflow.python.tools import saved_model_cli

    # The command loads an export for every signature; here each is loaded once.
    load, sessions = saved_model_cli.loader.load, {}

    class Session:
        def __init__(self, *arguments, **options):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def load(self, tags, export):
            if export not in sessions:
                sessions[export] = tf.compat.v1.Session(graph=tf.Graph())
                load(sessions[export], tags, export)
            self.run = sessions[export].run

    saved_model_cli.session = types.SimpleNamespace(Session=Session)
    saved_model_cli.loader = types.SimpleNamespace(load=Session.load)
    parser = saved_model_cli.create_parser()
    for arguments in json.load(open(sys.argv[1])):
        parser.parse_args(arguments).func()
"""


def arguments_of_cli(export, signature, place):
    given = ";".join(f"{path.stem}={path}" for path in sorted(place.glob("*.npy")))
    return [
        *("run", "--dir", str(export), "--tag_set", "serve", "--signature_def", signature),
        *("--inputs", given, "--outdir", str(place / "cli")),
    ]


class TestCommandLine:
    def test_each_signature(self, exports, jobs, by_python, tmp_path):
        listed = tmp_path / "jobs.json"
        content = [arguments_of_cli(exports[job[0]], job[1], jobs[job]) for job in jobs]
        listed.write_text(json.dumps(content))
        run_python(CLI, listed)
        for job, place in jobs.items():
            for key, value in by_python[job].items():
                # Strings come as Python's objects, in a file that this test had written itself.
                found = np.load(place / "cli" / f"{key}.npy", allow_pickle=True)
                np.testing.assert_array_equal(found.astype(value.dtype), value, err_msg=str(job))

    def test_the_command_itself(self, exports, jobs, by_python, tmp_path):
        job = ("VAE", "generate_png", 7)
        shutil.copytree(jobs[job], tmp_path / "job")
        shutil.rmtree(tmp_path / "job" / "cli", ignore_errors=True)
        command = Path(sysconfig.get_path("scripts"), "saved_model_cli")
        done = subprocess.run(
            [command, *arguments_of_cli(exports["VAE"], "generate_png", tmp_path / "job")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found = np.load(tmp_path / "job/cli/image_bytes.npy", allow_pickle=True)
        assert found.tolist() == by_python[job]["image_bytes"].tolist()


def signature_defs(export):
    content = saved_model_pb2.SavedModel.FromString((export / "saved_model.pb").read_bytes())
    return content.meta_graphs[0].signature_def


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The C program, compiled."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    program = tmp_path_factory.mktemp("program") / "run_signatures"
    library = tf.sysconfig.get_lib()
    subprocess.run(
        [
            *(compiler, "-std=c11", "-Wall", "-Werror", "-O1", f"-I{tf.sysconfig.get_include()}"),
            *(Path(__file__).with_name("run_signatures.c"), "-o", program, f"-L{library}"),
            *("-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"),
            f"-Wl,-rpath,{library}",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return program


def as_bytes(array):
    if array.dtype.kind != "S":
        return array.tobytes()
    return b"".join(struct.pack("=Q", len(item)) + item for item in array)


def as_strings(data):
    strings = []
    while data:
        (length,) = struct.unpack("=Q", data[:8])
        strings.append(data[8 : 8 + length])
        data = data[8 + length :]
    return strings


class TestC:
    def test_bit_for_bit_as_python(self, exports, jobs, by_python, program, tmp_path):
        lines, wanted = [], []
        for name, export in exports.items():
            lines.append(f"export {export}")
            for signature, definition in sorted(signature_defs(export).items()):
                if (name, signature, 1) not in jobs:  # TensorFlow's own, of initialisation
                    continue
                for rows in ROWS:
                    job = (name, signature, rows)
                    lines.append(f"run {len(definition.inputs)} {len(definition.outputs)}")
                    for key, info in definition.inputs.items():
                        array = np.load(jobs[job] / f"{key}.npy")
                        (jobs[job] / f"{key}.bin").write_bytes(as_bytes(array))
                        lines.append(self.line(info, jobs[job] / f"{key}.bin", array.shape))
                    for key, info in definition.outputs.items():
                        file = tmp_path / f"{len(wanted)}.bin"
                        wanted.append((job, key, file))
                        lines.append(self.line(info, file, ()))
        (tmp_path / "jobs").write_text("\n".join(lines) + "\n")
        done = subprocess.run(
            [program, tmp_path / "jobs"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert {job for job, _, _ in wanted} == set(jobs)
        for job, key, file in wanted:
            expected = by_python[job][key]
            if expected.dtype.kind == "S":
                assert as_strings(file.read_bytes()) == expected.tolist(), job
            else:
                found = np.frombuffer(file.read_bytes(), np.float32).reshape(expected.shape)
                np.testing.assert_array_equal(found, expected, err_msg=str((job, key)))

    def line(self, info, file, shape):
        operation, _, index = info.name.partition(":")
        return " ".join(map(str, (operation, index, info.dtype, file, len(shape), *shape)))


def test_no_signature_asks_for_xla(exports):
    for export in exports.values():
        content = saved_model_pb2.SavedModel.FromString((export / "saved_model.pb").read_bytes())
        functions = content.meta_graphs[0].graph_def.library.function
        assert len(functions) > 10
        assert not any("_XlaMustCompile" in function.attr for function in functions)
