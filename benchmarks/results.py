"""The JSON file of a benchmark: {"parts": {name: {"facts", "begun", "rows", "fits"}}}, saved after every row.

Each part stands with its own facts (device, threads, versions, the source's digest), because parts may be measured on
different days and machines. Times are medians in ms, memory in MB; "ratio" is ours divided by the peer's.
"""

import json

from stn_scratch.training.files import replacing

FILE, FIGURE = "results.json", "results.png"
PART = {"facts": dict, "begun": list, "rows": list, "fits": list}
FACTS = {"device": str, "threads": int, "quick": bool, "versions": dict, "source": str}
ROW = {"case": str, "unit": str, "values": dict, "ratio": dict}


def check(data):
    """Raise ValueError, one sentence, unless `data` is what this module writes."""
    parts = _of(data, {"parts": dict}, "the file")["parts"]
    for name, part in parts.items():
        _of(_of(part, PART, f"part {name}")["facts"], FACTS, f"the facts of part {name}")
        for number, row in enumerate(part["rows"], start=1):
            where = f"row {number} of part {name}"
            values = _of(row, ROW, where)["values"]
            if "ours" not in values or not all(_is_number(v) for v in (*values.values(), *row["ratio"].values())):
                raise ValueError(f"{where}: values must be numbers, ours among them, not {values} and {row['ratio']}")


def _of(value, kinds, where):
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object, not {value!r}")
    for key, kind in kinds.items():
        if not isinstance(value.get(key), kind):
            raise ValueError(f"{where}: {key} must be of type {kind.__name__}, not {value.get(key)!r}")
    return value


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def load(path):
    """What the file holds; nothing measured if there is none. Raises ValueError if it is not a benchmark's."""
    if not path.is_file():
        return {"parts": {}}
    try:
        data = json.loads(path.read_text())
        check(data)
    except ValueError as error:
        raise ValueError(f"{path} is not the result of a benchmark: {error}") from None
    return data


def save(path, data):
    """Write the whole file or, if something goes wrong, leave the one that is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(json.dumps(data, indent=1, allow_nan=False).encode() + b"\n")


def begin(data, part, facts, *, resume):
    """The entry of a part: with `resume` the one in `data`, if it was measured under the same facts, else a new one.

    Gives the entry, and which facts differed (none: a list without members).
    """
    old = data["parts"].get(part)
    differ = [key for key in FACTS if old["facts"].get(key) != facts[key]] if resume and old else []
    if not resume or old is None or differ:
        data["parts"][part] = {"facts": facts, "begun": [], "rows": [], "fits": []}
    return data["parts"][part], differ
