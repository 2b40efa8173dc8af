"""`keras-medgen serve`."""

import contextlib
import json
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from keras_medgen.serving.versions import model_folders

PROGRAM, IMAGE = "tensorflow_model_server", "tensorflow/serving"
GRPC_PORT, REST_PORT = 8500, 8501  # also those within the image
ANY_PORT = "any that is free"


def serve(
    directory: Annotated[
        Path, typer.Argument(help="A model with version folders in it, or a folder of models.")
    ],
    rest_port: Annotated[
        int, typer.Option(min=0, max=65535, help=f"0: {ANY_PORT}, but no REST with {PROGRAM}.")
    ] = REST_PORT,
    grpc_port: Annotated[
        int, typer.Option(min=0, max=65535, help=f"0: {ANY_PORT}, but no gRPC with {PROGRAM}.")
    ] = GRPC_PORT,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 is all of this machine's.")
    ] = "127.0.0.1",
    docker: Annotated[
        bool, typer.Option("--docker", help=f"Without {PROGRAM}: its image, by Docker.")
    ] = False,
    builtin: Annotated[
        bool, typer.Option("--builtin", help="The built-in server, whatever else there is.")
    ] = False,
):
    """Serve exported models over REST and gRPC, as TensorFlow Serving does.

    \b
    Examples:
      keras-medgen serve saved_models
      keras-medgen serve saved_models/retina_vae --rest-port 9000
      keras-medgen serve saved_models --docker

    It starts TensorFlow Serving's tensorflow_model_server if that is on the PATH; else, with
    --docker, its official image; else the built-in server of the extra "serve", with a page to try
    the models at http://127.0.0.1:8501. Ctrl-C or SIGTERM stops it; the built-in server first
    answers what it was asked.
    """
    models = _models(directory)
    names = ", ".join(models)
    if builtin or not (docker or shutil.which(PROGRAM)):
        why = "as asked" if builtin else f"there is no {PROGRAM} on the PATH"
        _serve_builtin(directory, host, rest_port, grpc_port, f"({why}), models: {names}")
        return
    with contextlib.ExitStack() as stack:
        if shutil.which(PROGRAM):
            typer.echo(f"{PROGRAM}, models: {names}")
            typer.echo(f"It listens at all addresses of this machine, not only at {host}.")
            command = _program(models, rest_port, grpc_port, stack)
        else:
            if not shutil.which("docker"):
                raise FileNotFoundError("--docker needs docker on the PATH: there is none.")
            typer.echo(f"{IMAGE} by Docker at http://{_at(host)}:{rest_port}, models: {names}")
            command = _docker(models, host, rest_port, grpc_port, stack)
        code = _run(command)
    if code:
        raise typer.Exit(code)


def _models(directory):
    """From name to folder."""
    if not directory.is_dir():
        raise FileNotFoundError(f"there is no folder {directory}.")
    models = model_folders(directory.resolve())
    if not models:
        raise FileNotFoundError(
            f"{directory} holds no model: there must be folders such as 1 in it, or in its "
            "folders, as keras-medgen export writes them."
        )
    return models


def _serve_builtin(directory, host, rest_port, grpc_port, told):
    from keras_medgen.serving.server.run import serve

    where = f"http://{_at(host)}:{rest_port} and grpc://{_at(host)}:{grpc_port}"
    typer.echo(f"The built-in server {told}, at {where}")
    serve(directory.resolve(), host, rest_port, grpc_port)


def _at(host):
    """As it stands before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def _program(models, rest_port, grpc_port, stack):
    command = [PROGRAM, f"--port={grpc_port}", f"--rest_api_port={rest_port}"]
    if len(models) == 1:
        ((name, folder),) = models.items()
        return [*command, f"--model_name={name}", f"--model_base_path={folder}"]
    return [*command, f"--model_config_file={_config(models, stack)}"]


def _docker(models, host, rest_port, grpc_port, stack):
    command = ["docker", "run", "--rm", "--init"]
    for port, within in ((rest_port, REST_PORT), (grpc_port, GRPC_PORT)):
        command += ["-p", f"{_at(host)}:{port}:{within}"]
    for name, folder in models.items():
        command += ["-v", f"{folder}:/models/{name}:ro"]
    config = _config({name: f"/models/{name}" for name in models}, stack)
    command += ["-v", f"{config}:/models/models.config:ro", IMAGE]
    return [*command, "--model_config_file=/models/models.config"]


def _config(models, stack):
    """A file that lists models for TensorFlow Serving, until the stack is closed."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    folder.chmod(0o755)  # the image's user may be another
    entries = [
        f"  config {{ name: {json.dumps(name)} base_path: {json.dumps(str(path))} "
        'model_platform: "tensorflow" }\n'
        for name, path in models.items()
    ]
    path = folder / "models.config"
    path.write_text("model_config_list {\n" + "".join(entries) + "}\n")
    return path


def _run(command):
    """Runs a program to its end, and hands on what would end us. Returns a shell's exit code."""
    process = subprocess.Popen(command)
    handler = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        while True:
            with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C reaches it by itself
                code = process.wait()
                return code if code >= 0 else 128 - code
    finally:
        signal.signal(signal.SIGTERM, handler)
