"""Code in README.md and docs/: commands exist with their options, imports resolve, YAML fits the schema, links lead."""

import ast
import importlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from jsonschema import Draft202012Validator

from sweeps.cli.app import app
from sweeps.spec.schema import spec_schema
from sweeps.spec.strict_yaml import parse_yaml

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
OURS = ("kdtrain", "sweeps", "analysis")
LANGUAGES = {"bash", "yaml", "python", "text", "json", "dockerfile", "toml", "console", ""}


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """The page and the text of each code block of a language."""
    for page in PAGES:
        for text in re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            yield page.name, text


def commands() -> Iterator[tuple[str, str]]:
    """The page and the words of each command of kdsweep."""
    for page, text in blocks("bash"):
        joined = text.replace("\\\n", " ")
        for line in joined.splitlines():
            for part in re.split(r"\s(?:&&|\||;)\s", line):
                if match := re.search(r"(?:^|\s)kdsweep\s(.*)", part):
                    yield page, match[1]


@pytest.mark.parametrize(("page", "words"), sorted(set(commands())))
def test_commands_have_these_options(page: str, words: str) -> None:
    given = shlex.split(words, comments=True)
    assert "..." not in given or page, given
    command = typer.main.get_command(app)
    context = command.make_context("kdsweep", [], resilient_parsing=True)
    while hasattr(command, "commands"):
        name = given.pop(0)
        assert name in command.commands, f"kdsweep has no command {name}"
        command = command.commands[name]
    with command.make_context(command.name, given, parent=context):
        pass
    for word in given:
        if word.startswith("sweeps/"):
            assert (ROOT / word).exists(), word


@pytest.mark.parametrize(("page", "text"), sorted(set(blocks("python"))))
def test_python_imports_what_there_is(page: str, text: str) -> None:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OURS:
            module = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name), f"{node.module} has no {name.name}"


@pytest.mark.parametrize(("page", "text"), sorted(set(blocks("yaml"))))
def test_yaml_is_a_part_of_a_spec_or_a_teacher_file(page: str, text: str) -> None:
    schema = spec_schema()
    content = json.loads(json.dumps(parse_yaml(text, page))) or {}
    if set(content) <= {"network", "data", "eval_scale"} and "network" in content:
        return
    assert set(content) <= set(schema["properties"])
    part = Draft202012Validator({**schema, "required": []})
    assert [f"{error.json_path}: {error.message}" for error in part.iter_errors(content)] == []


def test_code_blocks_name_a_language_that_is_checked_or_none() -> None:
    used = {
        (page.name, language)
        for page in PAGES
        for language in re.findall(r"^```(\S*)[^\n]*\n.*?^```", page.read_text(), re.DOTALL | re.MULTILINE)
    }
    assert {pair for pair in used if pair[1] not in LANGUAGES} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target
