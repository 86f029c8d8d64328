"""Code in README.md and docs/: commands exist with their options, imports resolve, YAML fits the schema, links lead."""

import ast
import importlib
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from doc_pages import BLOCKS, PAGES, ROOT, Block
from jsonschema import Draft202012Validator

from kdtrain.data import parse_data
from sweeps.attempt.made_teachers import ImportSettings
from sweeps.cli.app import app
from sweeps.spec.schema import spec_schema
from sweeps.spec.spec import parse_spec
from sweeps.spec.strict_yaml import parse_yaml

OURS = ("kdtrain", "sweeps", "analysis")
LANGUAGES = {"bash", "yaml", "python", "text", "json", "dockerfile", "toml", "console"}
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

REST_OF_A_SPEC = {
    "name": "mine",
    "data": {"name": "camvid"},
    "teacher": {"path": "teachers/big"},
    "train": {"epochs": 10},
    "space": {"optimizer.lr": {"low": 0.001, "high": 0.1, "log": True}},
    "studies": ["none", "cwd", "cskd"],
    "budget": {"trials": 4},
}
"""What a spec has beside the part that a page shows."""


def blocks(language: str) -> list[Any]:
    """The code blocks of a language, as parameters of a test."""
    return [pytest.param(block, id=str(block)) for block in BLOCKS if block.language == language]


def commands() -> Iterator[tuple[str, str]]:
    """The page and the words of each command of kdsweep."""
    for block in BLOCKS:
        for command in block.commands:
            if match := re.search(r"(?:^|\s)kdsweep\s(.*)", command):
                yield block.page.name, match[1]


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


@pytest.mark.parametrize("block", blocks("bash"))
def test_what_is_installed_has_these_extras(block: Block) -> None:
    named = [name for extras in re.findall(r"pip install .*?\[([\w,]+)\]", block.text) for name in extras.split(",")]
    assert set(named) <= set(EXTRAS)


@pytest.mark.parametrize("block", blocks("python"))
def test_python_imports_what_there_is(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OURS:
            module = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name), f"{node.module} has no {name.name}"


@pytest.mark.parametrize("block", blocks("yaml"))
def test_yaml_is_a_part_of_a_spec_or_a_teacher_file(block: Block) -> None:
    schema = spec_schema()
    content = json.loads(json.dumps(parse_yaml(block.text, str(block)))) or {}
    if {"network", "classes"} & set(content) and set(content) <= set(ImportSettings.model_fields):
        ImportSettings.model_validate(content)
        parse_data(content["data"])
        return
    assert set(content) <= set(schema["properties"])
    part = Draft202012Validator({**schema, "required": []})
    assert [f"{error.json_path}: {error.message}" for error in part.iter_errors(content)] == []
    if not re.search(r"\bmy_\w+:", block.text):  # code of somebody else, see test_readme.py
        parse_spec({**REST_OF_A_SPEC, **content})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_blocks_name_a_language_that_is_checked(page: Path) -> None:
    blocks_here = [block for block in BLOCKS if block.page == page]
    assert {block.language for block in blocks_here} <= LANGUAGES
    assert len(re.findall(r"^\s*```", page.read_text(), re.MULTILINE)) == 2 * len(blocks_here), "a block is not seen"


def test_a_mark_stands_before_a_block_and_gives_a_reason() -> None:
    marks = sum(len(re.findall(r"^\s*<!-- not run", page.read_text(), re.MULTILINE)) for page in PAGES)
    assert marks == sum(bool(block.not_run) for block in BLOCKS)
    assert {str(block) for block in BLOCKS if block.not_run and block.language not in ("bash", "python")} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", text):
        if "://" not in target:
            file = page.parent / target if target else page
            assert file.exists(), target
            assert not anchor or anchor in _anchors(file.read_text()), f"{target}#{anchor}"


def _anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ +(.+?) *$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
