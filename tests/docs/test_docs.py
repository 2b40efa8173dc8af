"""The pages of docs/ and README.md: their code, the names in it, their links and pictures."""

import ast
import functools
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import keras_medgen as kmg

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
BLOCK = re.compile(r"(<!-- run -->\n)?```python\n(.*?)```", re.DOTALL)
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
NAME = re.compile(r"(?:kmg|keras_medgen)(?:\.[A-Za-z_]\w*)+")
LINK = re.compile(r"\]\(([^)\s#]+)[^)]*\)")
WEB = ("https://", "http://", "mailto:")
NOTHING_GENERATED = {  # but curves, points, and a radiograph with noise
    "adversarial_stability.png",
    "example_brain_stroke_distance.png",
    "floor.png",
    "four_generators.png",
    "noise.png",
}


@pytest.fixture(scope="module")
def source_blocks():
    """The hook of MkDocs, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("source_blocks", DOCS / "source_blocks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def page(request):
    return request.param


def found(name):
    """What a dotted name of the package stands for."""
    value = kmg
    for part in name.split(".")[1:]:
        value = getattr(value, part)
    return value


def exists(name):
    """Whether a dotted name is of an attribute or of a module, which a function may hide."""
    parts = ["keras_medgen", *name.split(".")[1:]]
    for length in range(len(parts), 0, -1):
        module = sys.modules.get(".".join(parts[:length]))
        try:
            if module and functools.reduce(getattr, parts[length:], module) is not None:
                return True
        except AttributeError:
            continue
    return False


def full_name(node):
    """`kmg.a.b` of the syntax tree as text, or None."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if parts and isinstance(node, ast.Name) and node.id in ("kmg", "keras_medgen"):
        return ".".join(["kmg", *reversed(parts)])
    return None


def test_code_compiles_and_calls_what_there_is(page):
    for _, code in BLOCK.findall(page.read_text(encoding="utf-8")):
        for node in ast.walk(ast.parse(code)):
            if not isinstance(node, ast.Call) or full_name(node.func) is None:
                continue
            called = found(full_name(node.func))
            keywords = {keyword.arg for keyword in node.keywords} - {None}
            positional = [None for one in node.args if not isinstance(one, ast.Starred)]
            signature = inspect.signature(called)
            try:
                signature.bind_partial(*positional, **dict.fromkeys(keywords))
            except TypeError as error:
                pytest.fail(f"{page.name}: {full_name(node.func)}: {error}")


def test_names_exist(page):
    files = (".py", ".md", ".json", ".yml", ".git")
    text = page.read_text(encoding="utf-8").replace("keras_medgen.egg-info", "")
    for name in {name for name in NAME.findall(text) if not name.endswith(files)}:
        parts = name.split(".")
        if any(part.startswith("_") for part in parts):
            continue
        if name.endswith("_"):  # of `kmg.networks.dcgan_*`
            module, start = name.rsplit(".", 1)
            assert any(one.startswith(start) for one in dir(found(module))), f"{page.name}: {name}*"
            continue
        assert exists(name), f"{page.name} names {name}"


def test_links_and_pictures_exist(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in LINK.findall(text):
        if not target.startswith(WEB):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.png")), ids=lambda path: path.name)
def test_pictures_of_generated_images_are_marked(path):
    with Image.open(path) as picture:
        assert (picture.info.get("Synthetic") is None) == (path.name in NOTHING_GENERATED)


def test_examples_that_are_named_exist(page):
    names = set(re.findall(r"\bexamples/[\w/]+\.(?:py|ipynb)", page.read_text(encoding="utf-8")))
    assert not [name for name in names if not (ROOT / name).is_file()]


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r"(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert listed == {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}


def test_every_public_module_has_a_page():
    for name in kmg.__all__:
        if inspect.ismodule(getattr(kmg, name)):
            text = (DOCS / "api" / f"{name}.md").read_text()
            assert f"::: keras_medgen.{name}\n" in text
            assert f"({name}.md)" in (DOCS / "api" / "index.md").read_text()


def test_code_of_the_package_is_found(source_blocks, page):
    for name in source_blocks.LINE.findall(page.read_text(encoding="utf-8")):
        source_blocks.code_block(name)


def test_a_source_block_is_the_code_as_it_stands(source_blocks):
    block = source_blocks.on_page_markdown(
        "Before\n\n::source keras_medgen.models.vae.VAE.networks\n"
    )
    code = inspect.getsource(kmg.models.VAE.networks)
    start = inspect.getsourcelines(kmg.models.VAE.networks)[1]
    assert block.startswith(
        f'Before\n\n```python title="keras_medgen/models/vae.py" linenums="{start}"\ndef networks'
    )
    assert block.rstrip().endswith(inspect.cleandoc(code.splitlines()[-1]) + "\n```")


@pytest.mark.parametrize("name", ["keras_medgen.models.vae.VAE.nothing", "elsewhere.models"])
def test_a_source_block_of_nothing_is_an_error(source_blocks, name):
    with pytest.raises(LookupError, match=r"nothing|elsewhere"):
        source_blocks.code_block(name)


@pytest.mark.parametrize("name", ["getting_started.md", "evaluation.md"])
def test_marked_blocks_run(name, tmp_path, monkeypatch):
    # As they are, but that a training takes one step and not five epochs.
    monkeypatch.chdir(tmp_path)
    fit = kmg.models.GenerativeModel.fit

    def short_fit(self, x, *args, **kwargs):
        short = {"epochs": 1, "steps_per_epoch": 1, "validation_steps": 1, "verbose": 0}
        return fit(self, x, *args, **{**kwargs, **short})

    monkeypatch.setattr(kmg.models.GenerativeModel, "fit", short_fit)
    code = [code for run, code in BLOCK.findall((DOCS / name).read_text()) if run]
    assert code
    exec(compile("\n".join(code), name, "exec"), {})


def public_objects():
    """(module, name) of every function and class of ours that a public module exports."""
    for module in kmg.__all__:
        names = getattr(getattr(kmg, module), "__all__", [])
        for name in names:
            value = getattr(getattr(kmg, module), name)
            if getattr(value, "__module__", "").startswith("keras_medgen"):
                yield module, name


@pytest.mark.slow
def test_the_site_builds_and_holds_every_public_name(tmp_path):
    if not all(map(importlib.util.find_spec, ("mkdocs", "material", "mkdocstrings"))):
        pytest.skip("mkdocs is not installed: it comes with the extra docs")
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(site)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert not [*site.rglob("*.py")]
    missing = []
    for module, name in public_objects():
        page = (site / "api" / module / "index.html").read_text(encoding="utf-8")
        # A function in a module of its own name is listed by its full one.
        if not re.search(rf'id="keras_medgen\.{module}(\.{name})?\.{name}"', page):
            missing.append(f"{module}.{name}")
    assert not missing
    # Nothing is fetched from elsewhere when a page is read.
    fetched = re.compile(r'<(?:script|img)[^>]* src="http|<link[^>]* rel="stylesheet"[^>]*"http')
    assert not [path for path in site.rglob("*.html") if fetched.search(path.read_text("utf-8"))]
