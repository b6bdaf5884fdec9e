"""The benchmark: statistics, file, command line, and a quick run of every part."""

import json
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest

from benchmarks import (
    figure,
    machine,
    memory,
    peers,
    results,
    same_work,
    scaling,
    table,
    timing,
)
from benchmarks.__main__ import PARTS, UNFINISHED, main

ROOT = pathlib.Path(__file__).parents[1]
FACTS = {"device": "a chip", "threads": 2, "quick": False, "versions": {"numpy": "2"}, "source": "0123abcd"}


def row():
    return {"case": "a case", **timing.with_ratio("ms", {"ours": 2.0, "PyTorch": 4.0})}


def entry(*rows):
    begun = [{"date": "2026-01-02T03:04:05", "load": 0.1}]
    return {"facts": dict(FACTS), "begun": begun, "rows": list(rows), "fits": []}


# statistics

def test_the_exponent_of_a_power_is_found():
    sizes = [3, 7, 20, 111]
    fit = timing.fit_exponent(sizes, [0.25 * n ** 1.75 for n in sizes])
    np.testing.assert_allclose(fit, (1.75, 0.25, 1), rtol=1e-12)


def test_the_exponent_of_noisy_costs_is_that_of_least_squares():
    sizes, costs = np.array([1, 2, 4, 8, 16]), np.array([1.1, 1.9, 4.4, 7.2, 17])
    fit = timing.fit_exponent(sizes.tolist(), costs.tolist())
    slope, intercept = np.polyfit(np.log(sizes), np.log(costs), 1)
    np.testing.assert_allclose((fit.exponent, fit.constant), (slope, np.exp(intercept)), rtol=1e-12)
    line = fit.constant * sizes ** fit.exponent
    np.testing.assert_allclose(fit.off, np.maximum(line / costs, costs / line).max(), rtol=1e-12)


@pytest.mark.parametrize("sizes, costs", [([5, 5], [1, 2]), ([], []), ([1, 2], [1]), ([1, 2], [0, 1]),
                                          ([0, 1], [1, 2])])
def test_there_is_no_exponent_without_two_sizes_and_positive_costs(sizes, costs):
    with pytest.raises(ValueError, match="exponent needs costs at two sizes|must be above 0"):
        timing.fit_exponent(sizes, costs)


def test_contenders_alternate_after_the_warm_up_and_the_median_counts():
    order = []
    seconds = {"ours": iter([0.1, 0.3, 0.2, 0.9]), "PyTorch": iter([0.1, 0.8, 0.4, 0.4])}

    def clock(call, n):
        assert n == 1  # longer than a sample must be
        order.append(call())
        return next(seconds[order[-1]])

    calls = {"ours": lambda: "ours", "PyTorch": lambda: "PyTorch"}
    measured = timing.alternate(calls, clock, timing.Budget(warm=12, least=3, most=3, seconds=0, sample=0))
    assert order == ["ours", "PyTorch"] * 4
    assert measured["values"] == {"ours": 300, "PyTorch": 400} and measured["ratio"] == {"PyTorch": 0.75}
    assert measured["quartiles"]["ours"] == pytest.approx([250, 600])
    assert (measured["warm"], measured["samples"]) == (12, 3)


def test_what_is_fast_is_called_often_between_two_looks_at_the_clock():
    asked = []
    timing.alternate({"ours": lambda: None}, lambda call, n: asked.append(n) or 0.2 / 40,
                     timing.QUICK._replace(sample=0.2))
    assert asked == [1, 40, 40]


@pytest.mark.parametrize("least, most, seconds, samples", [(2, 9, 0, 2), (2, 4, 60, 4)])
def test_samples_end_with_the_budget(least, most, seconds, samples):
    budget = timing.Budget(warm=0, least=least, most=most, seconds=seconds)
    assert timing.alternate({"ours": lambda: None}, lambda call, n: 1, budget)["samples"] == samples


def test_the_fits_of_an_axis_are_made_from_its_rows():
    rows = [{"axis": "input", "size": n, "values": {"ours": 3 + 0.01 * n, timing.COMPILED: 0.02 * n, "PyTorch": n / 50,
                                                    scaling.COPY: 0.01 * n}} for n in (100, 400, 1600)]
    found = {fit["of"]: fit for fit in scaling.fits(rows + [{"axis": "step", "size": 1, "values": {"ours": 1}}])}
    names = {"ours", timing.COMPILED, "PyTorch"}
    assert found.keys() == names | {f"{name} beyond the copy" for name in names}
    assert found["PyTorch"]["exponent"] == pytest.approx(1) and found["PyTorch"]["expected"] == 0
    assert found["PyTorch beyond the copy"]["exponent"] == pytest.approx(1)
    assert found["ours beyond the copy"]["exponent"] == pytest.approx(0, abs=1e-12)
    assert found[f"{timing.COMPILED} beyond the copy"]["constant"] == pytest.approx(0.01)


# the file

def test_the_file_comes_back_as_it_was(tmp_path):
    path = tmp_path / "a" / results.FILE
    assert results.load(path) == {"parts": {}}
    data = {"parts": {"step": entry(row()), "gpu": entry()}}
    results.save(path, data)
    assert results.load(path) == data


@pytest.mark.parametrize("damage, sentence", [
    (lambda d: d.pop("parts"), "the file: parts must be of type dict, not None"),
    (lambda d: d["parts"]["step"].pop("fits"), "part step: fits must be of type list, not None"),
    (lambda d: d["parts"]["step"]["facts"].update(threads="2"), "facts of part step: threads must be of type int"),
    (lambda d: d["parts"]["step"]["rows"][0].pop("unit"), "row 1 of part step: unit must be of type str"),
    (lambda d: d["parts"]["step"]["rows"][0]["values"].pop("ours"), "row 1 of part step: values must be numbers"),
    (lambda d: d["parts"]["step"]["rows"][0]["ratio"].update(PyTorch=None), "values must be numbers, ours among them"),
])
def test_a_file_of_another_kind_is_refused(damage, sentence, tmp_path):
    data = {"parts": {"step": entry(row())}}
    damage(data)
    (tmp_path / results.FILE).write_text(json.dumps(data))
    with pytest.raises(ValueError, match=sentence):
        results.load(tmp_path / results.FILE)


def test_a_part_is_resumed_under_the_same_facts_only():
    measured = entry(row())
    for resume, facts, kept, differ in ((True, FACTS, True, []), (False, FACTS, False, []),
                                        (True, FACTS | {"source": "f"}, False, ["source"])):
        found, said = results.begin({"parts": {"step": measured}}, "step", facts, resume=resume)
        assert (found is measured, said) == (kept, differ)
        assert found["facts"] == facts and found["rows"] == ([row()] if kept else [])


# the command line, with made-up parts

@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """A part of three cases in the place of `grids` -> what was measured, and a call of the command line."""
    measured = []

    def case(name):
        def measure(budget):
            measured.append(name)
            if name == "wrong":
                raise same_work.Disagreement("wrong: not the same work")
            return timing.with_ratio("ms", {"ours": 1.0, "PyTorch": 2.0})

        return timing.Case(name, {"transform": name}, measure)

    part = types.SimpleNamespace(names=["one", "two", "three"])
    part.cases = lambda machine, options: map(case, part.names)
    monkeypatch.setitem(PARTS, "grids", part)

    def call(*options):
        measured.clear()
        return main(["--part", "grids", "--threads", "1", "--out", str(tmp_path), *options])

    return part, measured, call


def test_resume_measures_only_what_is_missing(made_up, tmp_path):
    part, measured, call = made_up
    assert call() == 0 and measured == ["one", "two", "three"]
    part.names.insert(1, "new")
    assert call("--resume") == 0 and measured == ["new"]
    assert call() == 0 and measured == part.names
    rows = results.load(tmp_path / results.FILE)["parts"]["grids"]["rows"]
    assert [r["case"] for r in rows] == part.names and rows[0]["ratio"] == {"PyTorch": 0.5}
    assert (tmp_path / results.FIGURE).read_bytes()[:4] == b"\x89PNG"


def test_another_source_is_measured_again(made_up, monkeypatch, capsys):
    _, measured, call = made_up
    assert call() == 0
    monkeypatch.setattr(machine, "source", lambda *folders: "another")
    assert call("--resume") == 0 and measured == ["one", "two", "three"]
    assert "grids: what was measured before had another source: measured again" in capsys.readouterr().out


def test_without_time_nothing_begins_and_the_status_says_so(made_up, capsys):
    _, measured, call = made_up
    assert call("--seconds", "-1") == UNFINISHED and measured == []
    assert "time was up with 3 cases missing: go on with the same command and --resume" in capsys.readouterr().err


def test_a_disagreement_fails_its_case_and_not_the_others(made_up, capsys):
    part, measured, call = made_up
    part.names[1] = "wrong"
    assert call() == 1 and measured == ["one", "wrong", "three"]
    assert "wrong: not the same work" in capsys.readouterr().err


def test_a_foreign_file_is_left_alone(made_up, tmp_path, capsys):
    _, measured, call = made_up
    (tmp_path / results.FILE).write_text("[]")
    assert call() == 2 and measured == []
    assert (tmp_path / results.FILE).read_text() == "[]"
    assert capsys.readouterr().err.startswith(f"benchmarks: {tmp_path / results.FILE} is not the result")


# every part for real, but small

@pytest.mark.skipif(not memory.STATUS.is_file(), reason="the memory part reads /proc")
def test_a_quick_run_of_every_part(tmp_path):
    done = subprocess.run([sys.executable, "-m", "benchmarks", "--quick", "--threads", "2", "--out", str(tmp_path),
                           "--part", *(part for part in PARTS if part != "gpu")],
                          cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    parts = results.load(tmp_path / results.FILE)["parts"]
    rows = [r for part in parts.values() for r in part["rows"]]
    assert parts.keys() == PARTS.keys() - {"gpu"}
    assert all(table.line(r) in done.stdout for r in rows) and len(rows) > 25
    assert all(r["values"]["ours"] > 0 for r in rows)
    assert {fit["axis"] for fit in parts["scaling"]["fits"]} == scaling.EXPECTED.keys()
    assert {name for name, part in parts.items() if part["facts"]["threads"] == 1} == {"scaling"}
    assert (tmp_path / results.FIGURE).read_bytes()[:4] == b"\x89PNG"
    if peers.torch is not None:
        assert all("PyTorch" in r["ratio"] for part in ("step", "sampler", "memory") for r in parts[part]["rows"])


@pytest.mark.parametrize("images, parts", [(1000, [334, 334, 332]), (2, [1, 1])])
def test_each_thread_takes_a_part_of_the_batch(images, parts):
    with machine.cpu(3) as cpu:
        found = cpu.share(lambda a, b: a + b, np.arange(images), np.ones(images))
    assert [len(part) for part in found] == parts
    np.testing.assert_array_equal(np.concatenate(found), np.arange(1, images + 1))


def test_memory_is_what_the_call_takes_at_its_highest():
    """In a process of its own, as a step is measured: one that has trained may have kept the memory to give."""
    code = ("import numpy as np; from benchmarks.memory import growth; "
            "print(growth(lambda: np.ones(50 * 2 ** 17)), growth(lambda: None))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    fifty_given_back, nothing = map(float, done.stdout.split())
    assert 48 < fifty_given_back < 53 and nothing < 1


# the figure

def test_nothing_measured_is_no_figure(tmp_path):
    assert figure.draw({"parts": {}}, tmp_path / "f.png") is None and not (tmp_path / "f.png").exists()


@pytest.mark.parametrize("chosen", ["memory", "step", "memory step", "scaling"])
def test_the_figure_takes_what_there_is(chosen, tmp_path):
    rows = {"memory": row() | {"batch": 64}, "step": row(), "scaling": row() | {"axis": "batch", "size": 64}}
    data = {"parts": {part: entry(rows[part]) for part in chosen.split()}}
    assert figure.draw(data, tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"


def test_a_bar_for_each_ratio(tmp_path, monkeypatch):
    """With our sampler compiled, too, where it has been; and none where it has not."""
    drawn = []
    monkeypatch.setattr(figure.plt, "close", drawn.append)
    both = timing.with_ratio("ms", {"ours": 2.0, timing.COMPILED: 1.0, "PyTorch": 4.0})
    figure.draw({"parts": {"step": entry({"case": "both", **both}, row())}}, tmp_path / "f.png")
    monkeypatch.undo()
    ax = drawn[0].axes[-1]
    bars = {bars.get_label(): [bar.get_x() + bar.get_width() for bar in bars] for bars in ax.containers}
    figure.plt.close(drawn[0])
    assert bars == {"PyTorch": [0.5, 0.5], "PyTorch, our sampler compiled": [0.25]}
