"""Where the command line starts, and where its errors end."""

import os
import sys
import warnings

import tensorflow as tf
import typer
from typer.exceptions import TyperException

from keras_medgen._version import __version__
from keras_medgen.cli import (
    compare,
    data,
    datasets,
    demo,
    detect,
    evaluate,
    export,
    generate,
    serve,
    train,
)

INTERRUPTED = 130  # what Typer makes of Ctrl-C

app = typer.Typer(
    name="keras-medgen",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Generative models of medical images: train, sample and export from the command line.\n\n"
    "Start with: keras-medgen demo",
)


def _print_version(wanted: bool):
    if wanted:
        typer.echo(f"keras-medgen {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False,
        "--version",
        callback=_print_version,
        is_eager=True,
        help="Print the version and exit.",
    ),
    verbose: bool = typer.Option(
        False, "--verbose", help="With any command: TensorFlow's messages and full tracebacks."
    ),
):
    pass


app.command()(demo.demo)
app.command()(train.train)
app.command()(generate.generate)
app.command()(evaluate.evaluate)
app.command()(compare.compare)
app.command()(detect.detect)
app.command()(export.export)
app.command()(serve.serve)
app.command()(datasets.datasets)

data_app = typer.Typer(no_args_is_help=True, help="Look at a source of images, or prepare it.")
data_app.command()(data.inspect)
data_app.command()(data.prepare)
app.add_typer(data_app, name="data")


def main(arguments: list[str] | None = None) -> None:
    """Runs a command and exits: 0, or 2 after one sentence on stderr.

    Args:
        arguments: as in `sys.argv[1:]`, the default.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    verbose = "--verbose" in arguments
    # Taken out here, it may stand before or after the name of the command.
    arguments = [argument for argument in arguments if argument != "--verbose"]
    try:
        with warnings.catch_warnings():
            if not verbose:
                warnings.showwarning = _show_warning
            code = app(arguments, prog_name="keras-medgen", standalone_mode=False)
    except BrokenPipeError:  # the reader of our output, `head` say, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except TyperException as error:
        _say(error.format_message())
        sys.exit(2)
    except (ValueError, OSError, ImportError, MemoryError, tf.errors.OpError) as error:
        if verbose:
            raise
        _say(str(error))
        sys.exit(2)
    if code == INTERRUPTED:
        _say("stopped.")
    sys.exit(code or 0)


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    _say(f"warning: {message}")


def _say(message: str) -> None:
    print("keras-medgen:", " ".join(message.split()), file=sys.stderr)
