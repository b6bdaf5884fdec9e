"""Before anything is timed, both sides must compute the same: wrong twins, samplers and kernels are found out."""

import os
import types

import cuda_shim
import numpy as np
import pytest

from benchmarks import apart, gpu, grids, kernel_cases, kernels, machine, peers, same_work, sampler, step, timing
from stn_scratch.training.step import gradient

needs_torch = pytest.mark.skipif(peers.torch is None, reason="PyTorch is not installed")


def test_arrays_that_agree_pass_and_others_do_not():
    a = np.array([1.0, -4.0])
    same_work.check_same("a case", "PyTorch", a, a + 3e-9, 1e-9)
    for b in (a + 5e-9, a[:1], np.array([1.0, np.nan])):
        with pytest.raises(same_work.Disagreement, match="a case: not the same work: .*PyTorch"):
            same_work.check_same("a case", "PyTorch", a, b, 1e-9)


def one_thread():
    return machine.cpu(1)


# the first bias of the ST-CNN is the localisation network's: its regression starts at zero and hides it for a step
@needs_torch
@pytest.mark.parametrize("model, steps", [("st-cnn", 1), ("cnn", 0)])
def test_a_wrong_twin_is_not_timed(model, steps, monkeypatch):
    twin = peers.twin

    def wrong(*arguments):
        module, shape = twin(*arguments)
        next(p for p in module.parameters() if p.ndim == 1).data += 0.01
        return module, shape

    case = model, 28, 4, 24_000, timing.QUICK
    with one_thread() as cpu:
        step.compare(cpu, *case)
        monkeypatch.setattr(peers, "twin", wrong)
        with pytest.raises(same_work.Disagreement, match=f"{model} 28x28, logits after {steps} steps"):
            step.compare(cpu, *case)


@needs_torch
def test_a_twin_that_learns_otherwise_is_not_timed(monkeypatch):
    SGD = peers.torch.optim.SGD
    monkeypatch.setattr(peers.torch.optim, "SGD", lambda parameters, lr, mu: SGD(parameters, 1.001 * lr, mu))
    with one_thread() as cpu, pytest.raises(same_work.Disagreement, match="logits after 1 steps"):
        step.compare(cpu, "cnn", 28, 4, 24_000, timing.QUICK)


@needs_torch
@pytest.mark.parametrize("option, part", [("align_corners", "V"), ("padding", "V")])
def test_a_sampler_with_other_rules_is_not_timed(option, part, monkeypatch):
    other = {"align_corners": {"align_corners": False}, "padding": {"padding_mode": "border"}}[option]
    grid_sample = peers.F.grid_sample
    with one_thread() as cpu:
        sampler.compare(cpu, (3, 6, 7, 2), (5, 4), timing.QUICK)
        monkeypatch.setattr(peers.F, "grid_sample", lambda U, grid, **options: grid_sample(U, grid, **options | other))
        with pytest.raises(same_work.Disagreement, match=f"sampler 3x6x7x2, {part}"):
            sampler.compare(cpu, (3, 6, 7, 2), (5, 4), timing.QUICK)


@needs_torch
def test_another_affine_grid_is_not_timed(monkeypatch):
    affine_grid = peers.F.affine_grid
    with one_thread() as cpu:
        grids.compare(cpu, "affine", 2, (3, 4), timing.QUICK)
        monkeypatch.setattr(peers.F, "affine_grid", lambda theta, size, **_: affine_grid(theta, size))
        with pytest.raises(same_work.Disagreement, match="affine grid, grid"), pytest.warns(UserWarning):
            grids.compare(cpu, "affine", 2, (3, 4), timing.QUICK)


def test_no_sample_lies_near_a_pixel():
    grid = sampler.sampling_grid(np.random.default_rng(0), 50, (28, 30), (20, 21))
    pixels = (grid + 1) * np.array([29, 27]).reshape(2, 1, 1) / 2
    assert 0.0499 < np.abs(pixels - np.round(pixels)).min() < 0.06
    assert pixels.min() < -1 and pixels[:, 0].max() > 30  # some lie outside


def pretended_gpu(monkeypatch):
    """A machine whose arrays are the strict stand-in's; its kernels are compiled for the host."""
    xp = cuda_shim.on(cuda_shim.host_cuda, monkeypatch)
    clock = timing.host_clock(lambda: None)
    return machine.Machine("gpu", 1, xp.asarray, clock, clock, gradient, None, lambda work, *arrays: [work(*arrays)])


def test_the_gpu_part_on_a_pretended_gpu(monkeypatch):
    options = types.SimpleNamespace(quick=True)
    cases = list(gpu.cases(pretended_gpu(monkeypatch), options))
    rows = [case.measure(timing.QUICK) for case in cases if "cnn" not in case.name]
    speeds = [r for r in rows if r["unit"] == "GB/s"]
    assert len(speeds) > 15 and all(r["ratio"].keys() == {"the pair", "a copy"} for r in speeds)
    for r in speeds:
        assert r["values"]["ours"] == pytest.approx(r["bytes"] / r["ms"]["ours"] / 1e6)


def test_every_kernel_is_measured():
    assert kernels.unmeasured() == []


@pytest.mark.parametrize("name", kernel_cases.BUILDERS)
def test_a_wrong_kernel_is_not_timed(name, monkeypatch):
    gpu_machine = pretended_gpu(monkeypatch)
    kernels.check_kernel(name, kernel_cases.BUILDERS[name], gpu_machine.put, 5)

    def wrong(*arguments):
        kernel = kernel_cases.BUILDERS[name](*arguments)
        return kernel._replace(fused=lambda: tuple(1.001 * a for a in kernel.fused()))

    with pytest.raises(same_work.Disagreement, match=f"{name}, output 0"):
        kernels.check_kernel(name, wrong, gpu_machine.put, 5)


def test_the_bytes_of_a_kernel_are_its_inputs_and_outputs(monkeypatch):
    kernel = kernel_cases.BUILDERS["sample_backward"](pretended_gpu(monkeypatch).put, 3, 5)
    U, V, grid = 3 * 28 * 30 * 5, 3 * 26 * 24 * 5, 3 * 26 * 24 * 2
    assert kernels._bytes(kernel) == 4 * (2 * U + V + 2 * grid)


class Remembers:
    """A contender that tells of the process it stands in."""

    def __init__(self, number):
        self.number, self.calls = number, 0

    def __call__(self):
        self.calls += 1
        if self.calls > self.number:
            raise ValueError("called too often")

    def result(self):
        return self.number, self.calls, os.getpid()


def test_a_contender_apart_is_made_called_and_timed_there():
    with apart.apart(1) as peer:
        few, many = peer(Remembers, 3), peer(Remembers, 100)
        few()
        assert timing.host_clock(None)(few, 2) > 0
        assert many.result()[:2] == (100, 0)
        number, calls, process = few.result()
        assert (number, calls) == (3, 3) and process != os.getpid()
        with pytest.raises(ValueError, match="called too often"):
            few()


@needs_torch
def test_what_stands_apart_is_compared_as_well():
    with machine.cpu(1, peers_apart=True) as cpu:
        assert step.compare(cpu, "st-cnn", 28, 4, 24_000, timing.QUICK)["ratio"].keys() >= {"PyTorch"}
        made = sampler.contenders(cpu, ("PyTorch",), (3, 6, 7, 2), (5, 4), "float64")
        made["PyTorch"].result = lambda: tuple(1.001 * a for a in made["ours"].result())
        with pytest.raises(same_work.Disagreement, match="sampler x, V"):
            sampler.check_samplers("x", made, 1e-9)
