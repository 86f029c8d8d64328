"""The JSON schema of a spec, for editors and other programs: from the models, with the short forms of a spec."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from kdtrain.config import TrainConfig
from kdtrain.config_base import Strict
from kdtrain.data.registry import DATA_SETS
from kdtrain.field_docs import field_docs
from kdtrain.methods import METHODS, TERMS
from sweeps.spec.consistency import DECIDED_ELSEWHERE
from sweeps.spec.spec import SweepSpec

Schema = dict[str, Any]
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_FORMER_NAMES = {
    "Confirm": {"report_seeds": "final_seeds"},
    "Folders": {"report": "test"},
    "RoleCounts": {"report": "test"},
}
"""Fields that a spec may still give under a former name, by model: the former name and the present one."""
_PATH = {"type": "object", "description": "Values by the dotted path of a field, as in `optimizer.lr`."}


def spec_schema() -> Schema:
    """The schema of a spec, which refuses unknown fields; third-party losses and data sets may have any."""
    kinds: list[type[BaseModel]] = [SweepSpec, TrainConfig, *DATA_SETS.values(), *TERMS.values()]
    references, collected = models_json_schema([(kind, "validation") for kind in kinds])
    definitions: Schema = collected["$defs"]
    names = {kind: references[kind, "validation"]["$ref"].rpartition("/")[2] for kind in kinds}
    by_name = {names.get(kind, kind.__name__): kind for kind in _models(Strict)}
    for name, definition in definitions.items():
        _tidy(definition, by_name.get(name))
    for name, former in _FORMER_NAMES.items():
        for old, new in former.items() if name in definitions else ():
            text = {"description": f"The former name of `{new}`.", "deprecated": True}
            definitions[name]["properties"][old] = {**definitions[name]["properties"][new], **text}
    recipe = definitions[names[TrainConfig]]
    definitions["Training"] = {**recipe, "required": []}
    definitions["Recipe"] = {
        **recipe,
        "description": "How all students are trained: fields of a training that differ from their defaults.",
        "required": [],
        "properties": {key: value for key, value in recipe["properties"].items() if key not in DECIDED_ELSEWHERE},
    }
    del definitions[names[TrainConfig]]
    definitions["TeacherFit"] = {
        **definitions["Training"],
        "description": "The teacher's network, and what differs from the recipe under `train`.",
        "required": ["network"],
        "properties": {"network": {"$ref": "#/$defs/Network"}, **definitions.pop("Training")["properties"]},
    }
    del definitions["TeacherFit"]["properties"]["student"]  # which `network` is here
    definitions["DataSet"] = _by_name("name", "Which images.", {key: names[kind] for key, kind in DATA_SETS.items()})
    definitions["Term"] = _by_name("loss", "One loss.", {key: names[kind] for key, kind in TERMS.items()})
    _allow_short_forms(definitions)
    spec = definitions.pop(names[SweepSpec])
    return {"$schema": _DIALECT, "title": "A sweep of kdsweep", **spec, "$defs": dict(sorted(definitions.items()))}


def _models(kind: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Our models below a class, once each."""
    for each in dict.fromkeys(kind.__subclasses__()):
        if each.__module__.partition(".")[0] in ("kdtrain", "sweeps"):
            yield each
            yield from _models(each)


def _tidy(definition: Schema, kind: type[BaseModel] | None) -> None:
    """Leave out titles made of names, and put what the docstrings say beside the fields."""
    definition.pop("title", None)
    docs = field_docs(kind) if kind is not None else {}
    for name, field in definition.get("properties", {}).items():
        field.pop("title", None)
        if name in docs:
            field["description"] = docs[name]
    if "description" in definition:
        definition["description"] = re.sub(r"\s+", " ", definition["description"])


def _by_name(key: str, text: str, kinds: Mapping[str, str]) -> Schema:
    """One of several models, which a field tells; of another value, a third-party object, nothing is known."""
    return {
        "description": text,
        "type": "object",
        "required": [key],
        "properties": {key: {"anyOf": [{"enum": list(kinds)}, {"type": "string"}]}},
        "allOf": [
            {"if": {"properties": {key: {"const": name}}}, "then": {"$ref": f"#/$defs/{kind}"}}
            for name, kind in kinds.items()
        ],
    }


def _allow_short_forms(definitions: Schema) -> None:
    """Say what the models accept beside their full forms, which pydantic does not know."""
    domain = {
        "anyOf": [
            {"$ref": "#/$defs/Range"},
            {"$ref": "#/$defs/Choice"},
            {"type": "array", "items": {"type": ["boolean", "integer", "number", "string", "null"]}, "minItems": 1},
        ]
    }
    below = {"type": "object", "minProperties": 1, "additionalProperties": {"type": ["object", "array"]}}
    spaces = {**_PATH, "additionalProperties": {"anyOf": [*domain["anyOf"], below]}}
    spec, study = definitions["SweepSpec"]["properties"], definitions["Study"]
    spec["train"] = {"$ref": "#/$defs/Recipe"}
    spec["space"] = {**spaces, "description": spec["space"].get("description", "")}
    spec["scheduler"] = {"anyOf": spec["scheduler"]["oneOf"]}
    for name in ("Halving", "Hyperband", "Median", "Patience"):
        definitions[name]["required"] = [*definitions[name].get("required", ()), "name"]
    spec["notes"] = {"anyOf": [{"type": "string"}, spec["notes"]]}
    for field, kind in (("watchers", "WatcherSource"), ("trackers", "TrackerSource")):
        options = {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": {"type": ["object", "null"]},
        }
        options["propertyNames"] = {"not": {"enum": ["name", "options"]}}  # {live_page: {...}}: a name with its options
        each = {"anyOf": [{"type": "string"}, {"$ref": f"#/$defs/{kind}"}, options]}
        spec[field] = {"anyOf": [each, {"type": "array", "items": each}], "description": spec[field]["description"]}
    sweeps = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    spec["warm_start"] = {"anyOf": [sweeps, *spec["warm_start"]["anyOf"]]}
    definitions["TeacherSource"]["properties"]["fit"] = {"anyOf": [{"$ref": "#/$defs/TeacherFit"}, {"type": "null"}]}
    study["required"] = []
    study["anyOf"] = [{"required": ["method"]}, {"required": ["terms"]}]
    method = {"anyOf": [{"enum": list(METHODS)}, {"type": "string"}]}
    study["properties"]["method"] = {**study["properties"]["method"], "anyOf": [*method["anyOf"], {"type": "null"}]}
    study["properties"]["space"] = {**study["properties"]["space"], "anyOf": [{"const": "default"}, spaces]}
    spec["studies"]["items"] = {"anyOf": [method, {"$ref": "#/$defs/Study"}]}
    for definition in definitions.values():
        for field in ("student_layer", "teacher_layer"):
            if layer := definition.get("properties", {}).get(field):
                layer.pop("type", None)
                layer["anyOf"] = [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
