"""Every YAML text is read as it is written, or refused with the line and what to write."""

import math
import re
from pathlib import Path

import pytest
import yaml

import sweeps
from kdtrain.errors import InputError
from sweeps.spec.spec import load_spec
from sweeps.spec.strict_yaml import dump_yaml, parse_value, parse_yaml, read_mapping


def refused(text):
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "f.yaml")
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "'a'"),
        ("x:\n  - {low: 1, high: 2, low: 3}\n", 2, "'low'"),
        ('1: 0\n"1": 2\n', 2, "'1'"),
        ("? a\n? b\n? a\n", 3, "'a'"),
        ("b: &b {x: 1}\nc:\n  <<: *b\n  <<: *b\n", 4, "'<<'"),
        ("b: &b {x: 1}\nc:\n  x: 2\n  <<: *b\n  x: 3\n", 5, "'x'"),
    ],
)
def test_a_key_that_stands_twice_is_an_error_with_both_lines(text, line, key):
    message = refused(text)
    assert f"line {line}: " in message
    assert f"the key {key} stands twice" in message


@pytest.mark.parametrize(
    "value",
    ["010", "08", "-010", "00.5", "0777", "0o10", "0b11", "-0x1f", "1:30", "12:30:45.5", "1_000", "0x_1", "1_0.5",
     "yes", "No", "on", "OFF"],
)  # fmt: skip
def test_a_value_that_yaml_1_1_and_1_2_read_differently_is_refused_with_what_to_write(value):
    message = refused(f"a:\n  - b: {value}\n")
    assert message.startswith("f.yaml, line 2: a.0.b: YAML 1.1 and YAML 1.2 read ")
    assert "; write " in message
    assert f'"{value}" in quotes' in message
    assert parse_yaml(f'a: "{value}"\n', "f.yaml") == {"a": value}
    assert parse_yaml(f"a: !!str {value}\n", "f.yaml") == {"a": value}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("+3", 3),
        ("0x1F", 31),
        ("~", None),
        ("", None),
        ("Null", None),
        ("TRUE", True),
        ("2026-11-28", "2026-11-28"),
        ("2026-11-28 10:00:00", "2026-11-28 10:00:00"),
        ("1.2.3", "1.2.3"),
        ("4:60", "4:60"),
        ("=", "="),
        ("y", "y"),
        ("http://host:80", "http://host:80"),
        ("'no'", "no"),
        ("!!int '3'", 3),
        ("1234567890123e45", "1234567890123e45"),  # a digest that earlier versions wrote without quotes
    ],
)
def test_a_plain_value_is_read_as_yaml_1_2(text, value):
    read = parse_yaml(f"a: {text}\n", "f.yaml")["a"]
    assert read == value
    assert type(read) is type(value)
    assert math.isnan(parse_yaml("a: .nan", "f.yaml")["a"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\n---\nb: 2\n", "several documents"),
        ("a:\n\t- 1\n", "line 2, column 1: a tab cannot indent; use spaces"),
        ("a: &a [*a]\n", "an alias stands inside of what it repeats"),
        ("a: *b\n", "undefined alias"),
        ("a: !!python/object/apply:os.system [ls]\n", "the tag !!python/object/apply:os.system is not known"),
        ("a: !mine 3\n", "the tag !mine is not known"),
        ("a: !!null x\n", "is not of the kind null"),
        ("a: 1e400\n", "too large or too small"),
        ("a: 1e-400\n", "too large or too small"),
        (f"b: 1\na: {2**64}\n", "line 2: a: a whole number lies between -2^63 and 2^63 - 1, got 18446744073709551616"),
        (f"a: {'9' * 5000}\n", "a whole number lies between"),
        (f"a: 0x{'f' * 17}\n", "a whole number lies between"),
        ("true: 1\n", "a key is a text or a whole number"),
        ("1.5: 1\n", "a key is a text or a whole number"),
        ("? [a]\n: 1\n", "a key is a text or a whole number"),
        ("no: 1\n", "YAML 1.1 and YAML 1.2 read no differently"),
        ('a: "\\0"\n', "a character that no file can hold"),
        ('a: "\\ud800"\n', "a character that no file can hold"),
        ('a: "\\U00110000"\n', "is not YAML"),
        ("a: \x1b[31m\n", "the character '\\x1b' at position 3 is not printable"),
        ("a: {b: 1\n", "is not YAML, line 2"),
        ("[" * 5000, "nested too deeply"),
        ("[" * 150 + "]" * 150, "nested too deeply"),
    ],
)
def test_what_cannot_be_read_as_written_is_one_sentence(text, words):
    assert words in refused(text)


def test_aliases_that_multiply_are_refused_before_they_fill_the_memory():
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)]
    assert "it holds more than 200000 values, with what its aliases repeat" in refused("\n".join(lines))


def test_anchors_and_merge_keys_are_read():
    text = "base: &base {lr: 1, steps: 2}\nrun:\n  <<: *base\n  lr: 3\nother: {<<: [{a: 1}, {a: 2, b: 2}]}\n"
    content = parse_yaml(text, "f.yaml")
    assert content["run"] == {"lr": 3, "steps": 2}
    assert content["other"] == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty, but must hold a mapping"),
        (b"# nothing\n", "is empty"),
        (b"- 1\n", "must hold a mapping, got a list"),
        (b"a\n", "must hold a mapping, got the single value 'a'"),
        (b"a: 1\nb: caf\xe9\n", "line 2 holds the byte 0xe9; save it as UTF-8"),
        ("a: 1\n".encode("utf-16"), "it is UTF-16; save it as UTF-8"),
    ],
)
def test_a_file_is_one_mapping_in_utf_8(content, words, tmp_path):
    path = tmp_path / "f.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_mapping(path)
    assert words in str(caught.value)


def test_a_byte_order_mark_is_passed_over(tmp_path):
    path = tmp_path / "f.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert read_mapping(path) == {"a": 1, "b": 2}


@pytest.mark.parametrize("path", ["missing.yaml", ".", "a\0b.yaml", "x" * 300])
def test_a_file_that_cannot_be_read_is_one_sentence(path, tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_mapping(f"{tmp_path}/{path}")


@pytest.mark.parametrize(
    "value",
    ["1e-3", "1e3", "1.5e3", ".5e3", "010", "0o10", "yes", "no", "1:30", "1_000", "2026-11-28", "~", "", "=", "<<",
     "#1", "a: b", "[x]", "- x", "null", "True", ".inf", " x", "é", "\x1b[1m", "1234567890123e45", "@x",
     "%x", "'", '"'],
)  # fmt: skip
@pytest.mark.parametrize("where", ["value", "key"])
def test_what_the_code_writes_is_read_the_same_by_it_and_by_readers_of_yaml_1_1(value, where):
    content = {"a": value} if where == "value" else {value: 1}
    text = dump_yaml(content)
    assert parse_yaml(text, "f.yaml") == content
    assert yaml.safe_load(text) == content


def test_a_list_that_is_used_twice_is_written_twice():
    shared = [1, 2]
    assert "&" not in dump_yaml({"a": shared, "b": shared})


def test_numbers_are_written_and_read_to_the_last_bit():
    content = {"a": [1e-5, 0.1, 1e22, 3.0, 1 / 3, -0.0, 2**53 + 1, True, None]}
    assert repr(parse_yaml(dump_yaml(content), "f.yaml")) == repr(content)
    assert repr(parse_yaml(yaml.safe_dump(content), "f.yaml")) == repr(content)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the value is empty"),
        ("  ", "the value is empty"),
        ("{low: 1", "--set a is not YAML"),
        ("a #1", "only up to the #"),
        ("#1", "only up to the #"),
        ("1\n---\n2", "several documents"),
        ("\udcff", "not printable"),
        ("010", "--set a: YAML 1.1 and YAML 1.2 read 010 differently"),
    ],
)
def test_a_value_of_the_command_line_is_read_whole_or_refused(text, words):
    with pytest.raises(InputError) as caught:
        parse_value(text, "--set a")
    assert words in str(caught.value)


def test_a_value_of_the_command_line_may_hold_anything_in_quotes():
    assert parse_value("a=b", "--set a") == "a=b"
    assert parse_value('"a #1"', "--set a") == "a #1"
    assert parse_value("'' ", "--set a") == ""
    assert parse_value("{low: 1e-3, high: 1}", "--set a") == {"low": 1e-3, "high": 1}


def test_yaml_is_read_in_one_place():
    root = Path(sweeps.__file__).parents[1]
    files = [path for package in ("kdtrain", "sweeps", "analysis") for path in (root / package).rglob("*.py")]
    readers = [path.name for path in files if re.search(r"yaml\.\w*(load|compose|SafeLoader)", path.read_text())]
    assert readers == ["strict_yaml.py"]


def test_a_spec_in_the_home_folder_is_found(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "spec.yaml").write_text(dump_yaml(fake.content()))
    assert load_spec("~/spec.yaml") == fake.make_spec()


def test_options_of_third_party_code_hold_finite_numbers(fake, tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(fake.content()) + "watchers: {name: live_page, options: {every: .nan}}\n")
    with pytest.raises(InputError, match=r"watchers\.0\.options: must be values that JSON can hold"):
        load_spec(path)


def test_a_spec_with_a_key_twice_is_refused_with_file_and_line(fake, tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(fake.content()) + "seed: 1\nseed: 2\n")
    with pytest.raises(InputError, match=r"spec\.yaml, line \d+: the key 'seed' stands twice"):
        load_spec(path)


@pytest.mark.parametrize(
    "text",
    [
        "a: {#000000: 0, #ffffff: 1}\n",
        'a: {"#000000": 0, #ffffff: 1}\n',
        "a: {b: #ffffff, c: 1}\n",
        "a: [#000000, #ffffff]\nb: 2\n",
        "a:\n  #000000: 0\n  #ffffff: 1\nb: 1\n",
        "a:\n  # black\n  #000000: 0\n",
        "a: {\n  #000000: 0,\n}\n",
        "a: [\n  #e0e0c0\n]\n",
        "a:\n  - #e0e0c0\n",
        "a: #e0e0c0\n",
    ],
)
def test_a_color_that_yaml_takes_for_a_comment_is_refused_with_its_quotes(text):
    assert 'a color needs quotes, as in "#000000"' in refused(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a:  # to do\nb: 2\n", {"a": None, "b": 2}),
        ("a: # see #000000\n", {"a": None}),
        ("a: {}  #000000\n", {"a": {}}),
        ("a: null  #000000\n", {"a": None}),
        ("a: ''  #000000\n", {"a": ""}),
        ('a: {"#000000": 0}  #ffffff\n', {"a": {"#000000": 0}}),
    ],
)
def test_a_comment_in_which_no_color_is_lost_is_a_comment(text, value):
    assert parse_yaml(text, "f.yaml") == value


def test_a_text_that_is_not_yaml_for_another_reason_tells_nothing_of_colors():
    assert "color" not in refused('x: {"#000000": 0}  # black\na: {b: 1\n')
