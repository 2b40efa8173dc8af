"""A hook of MkDocs that puts the package's own code into pages, so that it can never go stale.

A line `::source keras_medgen.models.vae.VAE.compute_losses` becomes a code block of that function
as it stands in the package, under the name of its file and with that file's line numbers. Nothing
is imported for it.
"""

import ast
import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINE = re.compile(r"^::source (\S+)$", re.MULTILINE)


def on_page_markdown(markdown, **kwargs):
    """The page with each `::source` line replaced by the code that it names."""
    return LINE.sub(lambda match: code_block(match[1]), markdown)


def code_block(name):
    """A fenced block of the source of a function, a method or a class.

    Args:
        name: dotted, from the package on.

    Raises:
        LookupError: if there is no such thing.
    """
    path, start, source = find(name)
    header = f'```python title="{path.relative_to(ROOT)}" linenums="{start}"'
    return f"{header}\n{source}\n```"


def find(name):
    """The file, the first line's number and the source of what a dotted name stands for."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:length]).with_suffix(".py")
        if path.is_file():
            break
    else:
        raise LookupError(f"{name} is in no module of the package.")
    text = path.read_text(encoding="utf-8")
    node = ast.parse(text)
    for part in parts[length:]:
        named = [one for one in node.body if getattr(one, "name", None) == part]
        if not named:
            raise LookupError(f"{path.name} has no {'.'.join(parts[length:])}.")
        node = named[0]
    lines = [one.lineno for one in getattr(node, "decorator_list", [])]
    start = min([node.lineno, *lines])
    source = "\n".join(text.splitlines()[start - 1 : node.end_lineno])
    return path, start, textwrap.dedent(source)
