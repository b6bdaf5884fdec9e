"""backend.py, and the rule that it is the only module which knows the array libraries."""

import ast
import graphlib
import importlib.util
import pathlib
import types

import numpy
import pytest
from strict import strict

from stn_scratch import backend
from stn_scratch.backend import get_array_module, is_array, scatter_add, synchronize, to_device, to_host

PACKAGE = pathlib.Path(importlib.util.find_spec("stn_scratch").origin).parent


# The switch.

def test_the_arrays_decide(xp):
    a = xp.zeros(3)
    assert is_array(a)
    assert get_array_module(a) is xp
    assert get_array_module(a, a + 1, a.sum().reshape(1)) is xp


@pytest.mark.parametrize("thing", [None, 1.0, [1.0], numpy.float32(1), "text"], ids=repr)
def test_what_is_not_an_array(thing):
    assert not is_array(thing)
    with pytest.raises(TypeError, match=f"^expected a NumPy or CuPy array, got {type(thing).__name__}$"):
        get_array_module(thing)


def test_host_and_device_do_not_mix():
    sentence = "host and device arrays meet here: move them with to_device or to_host first"
    with pytest.raises(TypeError, match=f"^{sentence}$"):
        get_array_module(numpy.zeros(3), strict.zeros(3))


def test_to_host(xp):
    host = numpy.arange(6.0).reshape(2, 3)
    a = to_host(xp.asarray(host))
    assert type(a) is numpy.ndarray
    numpy.testing.assert_array_equal(a, host, strict=True)
    assert to_host(host) is host


def test_to_device_without_a_gpu(monkeypatch):
    monkeypatch.setattr(backend, "gpu_available", lambda: False)
    with pytest.raises(RuntimeError, match="^no GPU: CuPy is not installed, or it sees no device$"):
        to_device(numpy.zeros(3))


def test_to_device_with_a_gpu(monkeypatch):
    monkeypatch.setattr(backend, "_cupy", lambda: strict)
    assert backend.gpu_available()
    assert get_array_module(to_device(numpy.zeros(3))) is strict


@pytest.mark.parametrize("cupy", [None, type("Driverless", (), {"is_available": staticmethod(lambda: False)})],
                         ids=["not installed", "no driver"])
def test_no_gpu(monkeypatch, cupy):
    monkeypatch.setattr(backend, "_cupy", lambda: cupy)
    assert not backend.gpu_available()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scatter_add_counts_every_occurrence(xp, dtype):
    start, values = numpy.arange(5, dtype=dtype), numpy.array([1, 2, 4, 8], dtype=dtype)
    index = numpy.array([3, 1, 3, 3], dtype=numpy.intp)
    target = xp.asarray(start.copy())
    assert scatter_add(target, xp.asarray(index), xp.asarray(values)) is None

    expected, lost = start.copy(), start.copy()
    numpy.add.at(expected, index, values)
    lost[index] += values  # the mistake: it keeps one of the three values for place 3
    assert expected.tolist() == [0, 3, 2, 16, 4]
    assert lost.tolist() != expected.tolist()
    numpy.testing.assert_array_equal(to_host(target), expected, strict=True)


def test_scatter_add_refuses_a_mixture():
    with pytest.raises(TypeError, match="host and device"):
        scatter_add(strict.zeros(3), numpy.array([0]), strict.zeros(1))


def test_synchronize_waits_for_the_device_only(monkeypatch):
    waits = []
    stream = type("Stream", (), {"synchronize": lambda self: waits.append("waited")})
    monkeypatch.setattr(strict.cuda, "get_current_stream", stream)
    synchronize(numpy.zeros(3))
    assert waits == []
    synchronize(strict.zeros(3))
    assert waits == ["waited"]


@pytest.mark.parametrize(("number", "used"), [(0, 0), (2, 2), (3, 0), (7, 1)])
def test_use_gpu_counts_round(monkeypatch, number, used):
    uses = []
    monkeypatch.setattr(backend, "_cupy", lambda: strict)
    monkeypatch.setattr(strict.cuda, "Device", lambda k: types.SimpleNamespace(use=lambda: uses.append(k)))
    monkeypatch.setattr(strict.cuda, "runtime", types.SimpleNamespace(getDeviceCount=lambda: 3))
    backend.use_gpu(number)
    assert uses == [used]


def test_use_gpu_of_an_array(monkeypatch):
    uses = []
    monkeypatch.setattr(type(strict.zeros(1)), "device", types.SimpleNamespace(use=lambda: uses.append("used")))
    backend.use_gpu_of(numpy.zeros(3))
    assert uses == []
    backend.use_gpu_of(strict.zeros(3))
    assert uses == ["used"]


# The syntax tree: who may import what.

FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = {path: path.relative_to(PACKAGE).as_posix() for path in FILES}

# Host-side work: files, figures, finite differences. Everything else computes with the arrays' own module.
MAY_IMPORT_NUMPY = ("backend.py", "gradcheck.py", "data/", "training/", "weights/", "colocalisation/", "experiments/",
                    "reading/", "demo/", "__main__.py")
# CuPy, MPI, h5py, latex2mathml
MAY_IMPORT_LATE = ("backend.py", "training/parallel.py", "experiments/running.py", "data/svhn.py",
                   "reading/mathematics.py")

# A module imports from its own row and from the rows above. A folder counts as one module here.
LEVELS = [
    {"backend"},
    {"blocks", "validate", "coordinates", "parameters", "user_cache", "cuda"},
    {"paper", "layers", "grids", "sampling", "optimiser", "gradcheck"},
    {"layer_networks", "network"},
    {"transformer", "transformer3d", "parts"},
    {"models"},
    {"data", "training"},
    {"weights", "colocalisation"},
    {"experiments", "reading"},
    {"__init__"},
    {"demo"},
    {"__main__"},
]


def imports(tree):
    """Every imported thing in a syntax tree, as a dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the package's name in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_files(tree):
    """The package's own files among them; a name that no file has belongs to an `__init__.py`."""
    for name in imports(tree):
        first, *rest = name.split(".")
        if first == "stn_scratch":
            while rest and not PACKAGE.joinpath(*rest).with_suffix(".py").exists():
                if PACKAGE.joinpath(*rest, "__init__.py").exists():
                    break
                rest = rest[:-1]
            path = PACKAGE.joinpath(*rest)
            yield path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def module(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", FILES, ids=NAMES.get)
def test_libraries(path):
    libraries = {name.split(".")[0] for name in imports(parsed(path))}
    if NAMES[path] != "backend.py":
        assert not libraries & {"cupy", "cupyx", "cupy_backends"}
    if not NAMES[path].startswith(MAY_IMPORT_NUMPY):
        assert "numpy" not in libraries, "compute with xp = get_array_module(...)"


@pytest.mark.parametrize("path", FILES, ids=NAMES.get)
def test_no_late_imports(path):
    functions = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    late = [name for function in functions for name in imports(function)]
    assert NAMES[path] in MAY_IMPORT_LATE or not late


@pytest.mark.parametrize("path", FILES, ids=NAMES.get)
def test_imports_run_one_way(path):
    level = {name: k for k, names in enumerate(LEVELS) for name in names}
    assert module(path) in level, "a new module: give it its place in LEVELS"
    reached = {module(other) for other in imported_files(parsed(path))}
    assert not {other for other in reached if level[other] > level[module(path)]}, "imports run one way"


def test_no_circle():
    graph = {path: set(imported_files(parsed(path))) - {path} for path in FILES}
    assert set(graphlib.TopologicalSorter(graph).static_order()) >= set(FILES)


@pytest.mark.parametrize("text, names", [
    ("import numpy.linalg as la, cupy", ["numpy.linalg", "cupy"]),
    ("def f():\n    from cupy import add", ["cupy.add"]),
    ("if True:\n    import numpy", ["numpy"]),
])
def test_the_reader_of_imports(text, names):
    assert list(imports(ast.parse(text))) == names


@pytest.mark.parametrize("text, file", [
    ("from stn_scratch.backend import to_host", "backend.py"),
    ("from stn_scratch import backend", "backend.py"),
    ("import stn_scratch.backend", "backend.py"),
    ("from stn_scratch import to_host", "__init__.py"),
    ("import stn_scratch", "__init__.py"),
])
def test_the_reader_of_the_packages_own_imports(text, file):
    assert list(imported_files(ast.parse(text))) == [PACKAGE / file]
