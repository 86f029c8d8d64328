"""Every field of a spec as a page: `python -m sweeps.spec.reference docs` writes it, with the JSON schema beside it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from kdtrain.data.registry import DATA_SETS
from kdtrain.methods import TERMS
from sweeps.spec.schema import Schema, spec_schema

PAGE, SCHEMA = "spec-reference.md", "kdsweep.schema.json"
_PREFACE = """# Every field of a spec

Written from the models by `python -m sweeps.spec.reference docs`; do not edit. [spec.md](spec.md) explains how the
fields work together, [methods.md](methods.md) has the formulas of the losses. A field without a default is required.

`kdsweep schema --out kdsweep.schema.json` writes the same as a JSON schema, which editors check a spec with while it is
typed; with the YAML language server (VS Code, Neovim, JetBrains, ...) this first line of a spec is enough:

```yaml
# yaml-language-server: $schema=kdsweep.schema.json
```
"""
_PARTS = (
    ("A sweep", ("",)),
    (
        "Data",
        (
            *("PairFolders", "Folders", "ShardFiles", "ShardRoles", "AnnotatedFolder", "AnnotatedRoles"),
            *("Split", "Carve", "RoleCounts", "Unlabelled"),
        ),
    ),
    ("Networks and teacher", ("Network", "TeacherSource", "TeacherFit")),
    ("Training", ("Recipe", "Augment", "Optimizer", "Schedule", "Ema")),
    ("Studies", ("Study", "Range", "Choice", "WeightSchedule")),
    (
        "Search",
        ("Budget", "Sampler", "NoScheduler", "Halving", "Hyperband", "Median", "Patience", "Score", "WarmStart"),
    ),
    ("Choice of the best config", ("Confirm", "Cell")),
    ("Machine", ("Resources", "ReplaySettings", "WatcherSource", "TrackerSource")),
)
"""Models by chapter; data sets and losses are added by their names, and what no chapter names stands at the end."""


def page(schema: Schema) -> str:
    """The page of a schema."""
    definitions: dict[str, Schema] = schema["$defs"]
    kinds = {kind.__name__: f"data: {{name: {name}}}" for name, kind in DATA_SETS.items()}
    kinds |= {kind.__name__: f"loss: {name}" for name, kind in TERMS.items()}
    chapters = [[title, list(names)] for title, names in _PARTS]
    chapters[1][1] = [*(kind.__name__ for kind in DATA_SETS.values()), *chapters[1][1]]
    chapters.append(["Losses", [kind.__name__ for kind in TERMS.values()]])
    named = {name for _, names in chapters for name in names} | {"DataSet", "Term"}
    chapters.append(["Further", [name for name in definitions if name not in named]])
    lines = [_PREFACE]
    for title, names in chapters:
        if names:
            lines += [f"## {title}", ""]
        for name in names:
            model = schema if not name else definitions[name]
            if name:
                lines += [f"### {name}{f': `{kinds[name]}`' if name in kinds else ''}", ""]
            lines += [*_model(model), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _model(model: Schema) -> Iterator[str]:
    if text := model.get("description"):
        yield text
        yield ""
    yield "| field | values | default | |"
    yield "|---|---|---|---|"
    required = model.get("required", ())
    for name, field in model["properties"].items():
        default = "" if name in required or "default" not in field else f"`{_short(field['default'])}`"
        cells = (f"`{name}`", _values(field), default, field.get("description", ""))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _values(field: Schema) -> str:
    """What a field may hold, in words."""
    if reference := field.get("$ref"):
        name = reference.rpartition("/")[2]
        special = {"DataSet": "[a data set](#data)", "Term": "[a loss](#losses)"}
        return special.get(name, f"[{name}](#{name.lower()})")
    if "const" in field:
        return f"`{_short(field['const'])}`"
    if "enum" in field and len(field["enum"]) > 12:
        return "a name"
    if "enum" in field:
        return ", ".join(f"`{_short(value)}`" for value in field["enum"])
    for several in ("anyOf", "oneOf"):
        if several in field:
            return " or ".join(dict.fromkeys(map(_values, field[several])))
    match field.get("type"):
        case "array":
            if "prefixItems" in field:
                return "[" + ", ".join(map(_values, field["prefixItems"])) + "]"
            return f"list of {_values(field.get('items', {}))}"
        case "object":
            inner = field.get("additionalProperties")
            return f"mapping to {_values(inner)}" if isinstance(inner, dict) else "mapping"
        case "integer" | "number" as kind:
            limits = (
                ("minimum", "from {}"),
                ("exclusiveMinimum", "above {}"),
                ("maximum", "up to {}"),
                ("exclusiveMaximum", "below {}"),
            )
            shown = [text.format(field[limit]) for limit, text in limits if abs(field.get(limit, 1e9)) < 1e9]
            return " ".join(["whole number" if kind == "integer" else "number", *shown])
        case "boolean":
            return "true or false"
        case "null":
            return "null"
        case "string":
            return "text"
    return "any value"


def _short(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value


def files() -> dict[str, str]:
    """The page and the schema as text, by the name of the file."""
    schema = spec_schema()
    return {PAGE: page(schema), SCHEMA: json.dumps(schema, indent=1, ensure_ascii=False) + "\n"}


def main(words: list[str]) -> int:
    """`python -m sweeps.spec.reference FOLDER`: write both files into a folder."""
    if len(words) != 1:
        sys.exit("usage: python -m sweeps.spec.reference FOLDER")
    for name, text in files().items():
        (Path(words[0]) / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
