"""cuda/launch.py and cuda/switches.py: when the kernels stand in, how they are compiled and launched; and the shim."""

import pathlib
import runpy
import shutil
import subprocess
import warnings

import checks_of_cuda
import cuda_shim
import numpy
import pytest
from cuda_shim import DEVICES, HostCuda, host_cuda, host_numpy, launched, on
from strict import DeviceArray, strict
from test_cuda_orders import FILES, fixed_scatter, layers, sampler, scatter, sgd

from stn_scratch import cuda
from stn_scratch.cuda import host, launch, switches
from stn_scratch.sampling.sampler import Options

FOLDER = pathlib.Path(launch.__file__).parent


@pytest.fixture
def xp(monkeypatch):
    return on(host_cuda, monkeypatch)


# When the kernels stand in.

@pytest.mark.parametrize("device", [xp for xp in DEVICES if xp is not host_numpy], ids=lambda module: module.__name__)
def test_available(device, monkeypatch):
    xp = on(device, monkeypatch)
    assert cuda.available(xp.zeros(3), xp.zeros(2))
    with cuda.fused(False):
        assert not cuda.available(xp.zeros(3))
        with cuda.fused():
            assert cuda.available(xp.zeros(3))
        assert not cuda.available(xp.zeros(3))
    assert cuda.available(xp.zeros(3))
    assert not cuda.available(numpy.zeros(3))


def test_plain_device_arrays_stay_with_the_pairs():
    assert not cuda.available(strict.zeros(3))


def test_a_switch_is_put_back_after_an_error(xp):
    with pytest.raises(KeyError), cuda.fused(False):
        raise KeyError
    assert cuda.available(xp.zeros(3))


@pytest.mark.parametrize("variables, fused, deterministic, compiled", [
    ({}, True, False, False), ({"STN_FUSED": "0"}, False, False, False),
    ({"STN_FUSED": "1", "STN_DETERMINISTIC": "1"}, True, True, False),
    ({"STN_DETERMINISTIC": "0", "STN_COMPILED": "1"}, True, False, True), ({"STN_COMPILED": "0"}, True, False, False),
])
def test_the_environment(monkeypatch, variables, fused, deterministic, compiled):
    for name in ("STN_FUSED", "STN_DETERMINISTIC", "STN_COMPILED"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    on = runpy.run_path(switches.__file__)["_switches"]
    assert on == {"fused": fused, "deterministic": deterministic, "compiled": compiled}


def test_a_compiler_that_does_not_work(monkeypatch):
    """It is said once, and the pairs go on without the kernels."""
    broken = HostCuda()

    def no_library(**options):
        raise RuntimeError("libnvrtc.so:\n  cannot open shared object file")

    broken.RawModule = no_library
    xp = on(broken, monkeypatch)
    monkeypatch.setitem(switches._switches, "fused", True)
    reason = "the fused GPU kernels are off, and plain CuPy runs instead: libnvrtc.so: cannot open shared object file"
    with pytest.warns(UserWarning, match=f"^{reason}$"):
        assert not cuda.available(xp.zeros(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not cuda.available(xp.zeros(3))


# How they are launched.

@pytest.mark.parametrize("check", ["sampler", "affine_sampler", "convolution", "max_pool", "relu", "cross_entropy",
                                   "sgd"])
def test_wide_indices(xp, monkeypatch, check):
    """Indices of 64 bits, as for arrays of 2^31 numbers, which no test has room for."""
    monkeypatch.setattr(launch, "INT32", 0)
    getattr(checks_of_cuda, check)(xp)
    assert launched and all(name.endswith("long long>") for name in launched)


@pytest.mark.parametrize("check", ["sampler", "affine_sampler"])
def test_wide_indices_compiled_for_the_cpu(monkeypatch, check):
    test_wide_indices(on(host_numpy, monkeypatch), monkeypatch, check)


def test_how_wide_an_index_is(xp, monkeypatch):
    monkeypatch.setattr(launch, "INT32", 100)
    cuda.relu_forward(xp.zeros(99, dtype="float32"))
    cuda.relu_forward(xp.zeros(100))
    assert launched == ["bias_relu_forward<float, int>", "bias_relu_forward<double, long long>"]
    launched.clear()
    cuda.max_pool_forward(xp.zeros((1, 9, 10, 1)), (4, 5), 2)  # 90 and 20 numbers
    cuda.max_pool_forward(xp.zeros((1, 10, 10, 1)), (5, 5), 2)  # 100 and 25: the largest array counts
    assert launched == ["max_pool_forward<double, int>", "max_pool_forward<double, long long>"]


def test_the_last_block_leaves_room():
    """The numbers of all threads, those of the last block that have nothing to do included, fit into 31 bits."""
    assert -(-(launch.INT32 - 1) // launch.BLOCK) * launch.BLOCK < 2**31


@pytest.mark.parametrize("pixels, block, blocks", [
    ((5, 6), 32, 1), ((4, 8), 32, 1), ((5, 7), 64, 1), ((28, 28), 224, 4), ((16, 16), 256, 1),
])
def test_no_block_has_threads_of_two_images(xp, monkeypatch, pixels, block, blocks):
    """And images of 30 pixels or more do not leave most of a block without something to do."""
    shapes, call = [], cuda_shim.guarded_call

    def noted_call(kernel, grid, block, arguments):
        shapes.append((grid, block))
        call(kernel, grid, block, arguments)

    monkeypatch.setattr(cuda_shim, "guarded_call", noted_call)
    U, grid = xp.zeros((3, 4, 4, 1)), xp.zeros((3, 2, *pixels))
    V, cache = cuda.sample_forward(U, grid, Options("bilinear", "zeros", True, "right"))
    cuda.sample_backward(V, cache)
    assert shapes == 3 * [((3 * blocks,), (block,))]


@pytest.mark.parametrize("run", [sampler, scatter, fixed_scatter, layers, sgd], ids=lambda run: run.__name__)
def test_nothing_waits_for_the_device(xp, monkeypatch, run):
    def waits(self):
        raise AssertionError("the host looks at a number of the device")

    for name in ("get", "item", "__bool__", "__int__", "__float__"):
        monkeypatch.setattr(DeviceArray, name, waits)
    run(xp)
    assert launched


# The text.

def test_the_files():
    assert sorted(path.name for path in FOLDER.glob("*.cu")) == sorted(["common.cu", *FILES])
    for path in FOLDER.glob("*.cu"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert max(map(len, lines)) <= 120 and path.read_text(encoding="utf-8").isascii(), path.name
        # what the shim cannot honour
        assert not any(word in line for line in lines for word in ("__shared__", "__sync", "__shfl", "#include"))


TYPES = ["float, int", "double, long long"]


@pytest.mark.parametrize("file", FILES)
def test_the_text_compiles_for_a_gpu(file, tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc here")
    names = [name for types in TYPES for name in launch.kernels(file, types)]
    source = tmp_path / file
    source.write_text(launch.text(file) + "".join(f"auto kernel_{k} = {name};\n" for k, name in enumerate(names)))
    options = [option.lstrip("-") for option in launch.OPTIONS]
    command = [nvcc, *(f"--{option}" for option in options), "-arch=sm_90", "-cubin", "-Werror", "all-warnings",
               str(source), "-o", str(tmp_path / "kernels.cubin")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("file", FILES)
def test_the_text_compiles_as_cupy_compiles_it(file):
    """NVRTC has no header files; it needs no GPU."""
    nvrtc = pytest.importorskip("cupy", reason="CuPy is not installed").cuda.nvrtc
    try:
        nvrtc.getVersion()
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"no NVRTC: {error}")
    program = nvrtc.createProgram(launch.text(file), file, (), ())
    names = [name for types in TYPES for name in launch.kernels(file, types)]
    for name in names:
        nvrtc.addNameExpression(program, name)
    try:
        nvrtc.compileProgram(program, (*launch.OPTIONS, "--gpu-architecture=sm_90"))
    except Exception:
        pytest.fail(nvrtc.getProgramLog(program))
    assert len({nvrtc.getLoweredName(program, name) for name in names}) == len(names)


# The shim sees what a GPU would not say.

KERNEL = """
template <typename T, typename I>
__global__ void shift(const T* x, T* y, I count, I by) {
    I t = thread_number<I>();
    if (t < count) y[t + by] = x[t];
}
"""


@pytest.fixture
def shift(monkeypatch, xp):
    text = (FOLDER / "common.cu").read_text(encoding="utf-8") + KERNEL
    module = xp.RawModule(code=text, options=launch.OPTIONS, name_expressions=["shift<float, int>"])
    return module.get_function("shift<float, int>")


def test_the_shim_runs_every_thread(shift, xp):
    x, y = xp.arange(300, dtype="float32"), xp.zeros(300, dtype="float32")
    shift((2,), (256,), (x, y, numpy.int32(299), numpy.int32(1)))
    assert y.get().tolist() == [0, *range(299)]


@pytest.mark.parametrize("by, count", [(1, 300), (-1, 300)])
def test_the_shim_sees_a_write_beside_an_array(shift, xp, by, count):
    x, y = xp.arange(300, dtype="float32"), xp.zeros(300, dtype="float32")
    with pytest.raises(AssertionError, match="^argument 1 of shift<float, int>: a write beside the array"):
        shift((2,), (256,), (x, y, numpy.int32(count), numpy.int32(by)))


def test_the_shim_reads_nan_beside_an_array(shift, xp):
    x, y = xp.ones(3, dtype="float32"), xp.zeros(4, dtype="float32")
    shift((1,), (256,), (x, y, numpy.int32(4), numpy.int32(0)))
    numpy.testing.assert_array_equal(y.get(), [1, 1, 1, numpy.nan])


@pytest.mark.parametrize("arguments, sentence", [
    (("x64", "y", numpy.int32(3), numpy.int32(0)), "a pointer to float was given float64"),
    (("x", "y", numpy.int64(3), numpy.int32(0)), "a value of type int was given int64"),
    (("x", "y", 3, numpy.int32(0)), "a number needs a type"),
    (("x", "y", numpy.int32(3)), "shift<float, int> takes 4 arguments"),
    (("turned", "y", numpy.int32(3), numpy.int32(0)), "a kernel takes an array whose numbers lie in order"),
])
def test_the_shim_checks_the_arguments(shift, xp, arguments, sentence):
    named = {"x": xp.zeros(4, dtype="float32"), "y": xp.zeros(4, dtype="float32"), "x64": xp.zeros(4),
             "turned": xp.zeros((2, 2), dtype="float32").T}
    with pytest.raises(AssertionError, match=f"^{sentence}"):
        shift((1,), (4,), tuple(named[a] if isinstance(a, str) else a for a in arguments))


def test_without_a_compiler(monkeypatch):
    monkeypatch.setattr(host, "compiler", lambda: None)
    for device in (host_cuda, host_numpy):
        with pytest.raises(pytest.skip.Exception, match="^no C"):
            on(device, monkeypatch)
