"""RESULTS.md, written from the records of the runs and from nothing else."""

import statistics
from collections import defaultdict
from itertools import product

from stn_scratch.experiments.records import COMMAND
from stn_scratch.experiments.rows import ROWS, TABLES
from stn_scratch.experiments.schedules import SCHEDULES
from stn_scratch.training.files import replacing

PICTURES = {  # a file, and the table that it stands beside
    "errors.png": ("distorted", "Test errors beside the paper's"),
    "digits.png": ("distorted", "Test digits that only the ST-CNN gets right"),
    "localised.png": ("colocalisation", "Windows on their way to the digits 4 of TC, at six steps of a run"),
}
HEAD = """# Results

Written by `python -m stn_scratch experiments --table` from the records in `{records}/`, never by hand. Every figure is
the error on the test set in per cent: the mean over seeds, with the smallest and the largest in square brackets where
there are several, and in round brackets the paper's.

{schedules}

The paper trained 150,000 steps of 256 images and averaged three seeds; a row trained for less says so by its schedule.
The standard error of an error of e % on n test images is the root of e (100 - e) / n: 0.1 for 1 % of 10,000, 0.5 for
2.7 % of 1,000. Minutes are those of training steps, for co-localisation those of the command that ended the run, on
whatever machine it was, busy or not.
"""


def write_results(found, path, records, pictures):
    """Write the page. found: {Cell: record}; records, pictures: the folders that they are in, for the page to name."""
    used = [name for name in SCHEDULES if any(cell.schedule == name for cell in found)]
    schedules = "\n".join(f"- `{name}`: {SCHEDULES[name].description}" for name in used)
    sections = [HEAD.format(records=records, schedules=schedules)]
    for table, (title, text) in TABLES.items():
        groups = groups_of(found, table)
        if groups:
            sections += [f"## {title}\n\n{text.strip()}\n", _overview(groups), _details(groups)]
            sections += [f"![{what}]({pictures / name})\n" for name, (beside, what) in PICTURES.items()
                         if beside == table and (path.parent / pictures / name).is_file()]
    with replacing(path) as file:
        file.write("\n".join(sections).encode())


def groups_of(found, table):
    """The records of each row and schedule of a table, one for each seed, in the order of the rows."""
    groups = defaultdict(list)
    rows, schedules = ({name: k for k, name in enumerate(names)} for names in (ROWS, SCHEDULES))
    for cell, record in sorted(found.items(), key=lambda item: (rows[item[0].row], schedules[item[0].schedule],
                                                                item[0].seed)):
        if ROWS[cell.row].table == table:
            groups[cell.row, cell.schedule].append(record)
    return groups


def shortest(groups):
    """The shortest schedule by which a row of these was trained."""
    return min((schedule for _, schedule in groups), key=list(SCHEDULES).index)


def _overview(groups):
    """Networks down, a line for each schedule of theirs; data across; in brackets the paper's figure."""
    names = [name for name, _ in groups]
    columns, first = _in_order(names, lambda row: row.column), shortest(groups)
    lines = [f"| error, % (the paper's), `{first}` | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    cells = {(ROWS[name].line, schedule, ROWS[name].column): f"{_spread(records)}{_beside(ROWS[name])}"
             for (name, schedule), records in groups.items()}
    for line, schedule in product(_in_order(names, lambda row: row.line), SCHEDULES):
        of_line = [cells.get((line, schedule, column), "") for column in columns]
        if any(of_line):
            # another schedule than that of the heading is named
            lines.append(f"| {line}{f', `{schedule}`' if schedule != first else ''} | {' | '.join(of_line)} |")
    return "\n".join(lines) + "\n"


def _in_order(names, key):
    """What `key` says of some rows of a table, each once, in the order in which it comes up among all rows of it."""
    said, (table,) = {key(ROWS[name]) for name in names}, {ROWS[name].table for name in names}
    return [value for value in dict.fromkeys(key(row) for row in ROWS.values() if row.table == table) if value in said]


def _beside(row):
    return f" ({row.paper:g})" if row.paper is not None else ""


def mean(records):
    return statistics.mean(record["test_error"] for record in records)


def _spread(records):
    errors = [record["test_error"] for record in records]
    return f"{mean(records):.2f}" + (f" [{min(errors):.2f}, {max(errors):.2f}]" if len(errors) > 1 else "")


def _details(groups):
    """A line a row and schedule: all that stands behind its figure."""
    lines = ["| paper | ours | seeds | test images | steps x batch | parameters | minutes | device | commit | "
             f"`{' '.join(COMMAND)} experiments` |",
             "|" + "---|" * 10]
    for (name, schedule), records in groups.items():
        paper, config = ROWS[name].paper, records[0]["config"]
        seeds = [str(record["seed"]) for record in records]
        columns = (f"{paper:g}" if paper is not None else "", _spread(records), ", ".join(seeds),
                   _together(records, "test_images", ","),
                   f"{config['iterations']:,} x {config.get('batch', config.get('pairs'))}",
                   _together(records, "parameters", ","),
                   f"{statistics.mean(record['minutes'] for record in records):.1f}", _together(records, "device"),
                   _together(records, "commit"), f"`--run {name} --schedule {schedule} --seed {' '.join(seeds)}`")
        lines.append(f"| {' | '.join(columns)} |")
    return "\n".join(["<details><summary>Every row, and its command</summary>\n", *lines, "", "</details>\n"])


def _together(records, name, form=""):
    """The values of several records, each once."""
    return ", ".join(dict.fromkeys(format(record[name], form) for record in records))
