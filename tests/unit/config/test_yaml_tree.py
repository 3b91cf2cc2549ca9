"""YAML text and overrides as a tree of plain values."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plsc.config import yaml_tree
from plsc.errors import UserError

KEYS = st.text(st.characters(categories=["L", "N", "Zs"]), min_size=1, max_size=8).filter(
    str.isprintable
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from(["5e-4", "1e-8", "2001-01-01", "1:30", "null", "true", "no", "~", "0x1", "="])
    | st.sampled_from(
        [
            "(0.9, 0.999)",
            "1.0/255.0",
            "- x",
            "a: b",
            "#",
            "'",
            '"',
            "\t",
            "line\n",
            "\x85",
            "\u2028x",
        ]
    ),
    lambda items: st.lists(items, max_size=3) | st.dictionaries(KEYS, items, max_size=3),
    max_leaves=10,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_what_is_dumped_is_read_back(tree):
    assert yaml_tree.parse(yaml_tree.dump(tree), "x.yaml") == tree


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-4", 5e-4),
        ("1e-8", 1e-8),
        ("-.5E+3", -500.0),
        ("1.0e-2", 0.01),
        ("1e3", 1000.0),
        ("0.1", 0.1),
        ("20", 20),
        ("True", True),
        ("null", None),
        ("", None),
        ("2022-01-01", "2022-01-01"),
        ("'5e-4'", "5e-4"),
        ("e5", "e5"),
        ("1.0/255.0", "1.0/255.0"),
        ("(0.9, 0.999)", "(0.9, 0.999)"),
        ("[None, 3]", ["None", 3]),
    ],
)
def test_scalars(text, value):
    found = yaml_tree.parse(f"key: {text}", "x.yaml")["key"]
    assert found == value and type(found) is type(value)


def test_merge_keys_and_anchors_work_and_share_nothing():
    text = "base: &base {a: 1, list: [1]}\nother:\n  <<: *base\n  a: 2\nsame: *base\n"
    tree = yaml_tree.parse(text, "x.yaml")
    assert tree["other"] == {"a": 2, "list": [1]}
    tree["base"]["list"].append(2)
    assert tree["same"]["list"] == tree["other"]["list"] == [1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "x.yaml, line 3: key 'a' is written twice"),
        ("a:\n  b: 1\n  c: 2\n  b: 3\n", "x.yaml, line 4: key 'b' is written twice"),
        ("a: 1\nb: [1, 2\nc: 3\n", "x.yaml, line 3: "),
        ("a: 1\n b: 2\n", "x.yaml, line 2: mapping values are not allowed here"),
        ("a:\n\t- 1\n", "x.yaml, line 2: "),
        ("- 1\n- 2\n", "x.yaml: the file must be a mapping of sections, got [1, 2]"),
        ("", "x.yaml: the file must be a mapping of sections, got None"),
        ("just words", "the file must be a mapping of sections, got 'just words'"),
        ("a: !!python/object/apply:os.getcwd []\n", "x.yaml, line 1: could not determine a constr"),
        ("a: !!set {x}\n", "is not text, a number, a list or a mapping"),
        ("a: !!binary aGk=\n", "is not text, a number, a list or a mapping"),
        ("a: !!int x\n", "x.yaml: "),
        ("1: 2\n", "x.yaml: the key 1 must be text; put it in quotes"),
        ("a: {on: 2}\n", "x.yaml: the key True must be text; put it in quotes"),
        ('"a\\nb": 2\n', "x.yaml: the key 'a\\nb' must be text"),
        ("? [a, b]\n: 2\n", "x.yaml, line 1: "),
        ("a: &x [*x]\n", "x.yaml: nested too deeply"),
        ("a: " + "[" * 5000, "x.yaml: nested too deeply"),
        ("a: 1\nb: \x07\n", "x.yaml, line 2: U+0007 may not stand in YAML"),
        ("a: *nowhere\n", "x.yaml, line 1: found undefined alias"),
        ("a: " + "9" * 5000, "x.yaml: Exceeds the limit"),
    ],
)
def test_faulty_text_is_one_line_with_its_place(text, message):
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        yaml_tree.parse(text, "x.yaml")
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"none.yaml: the config cannot be read: No such file"):
        yaml_tree.read(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="the config cannot be read: Is a directory"):
        yaml_tree.read(tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: \xe9\n")
    with pytest.raises(UserError, match="latin.yaml: byte 3 is not UTF-8 text"):
        yaml_tree.read(latin)
    marked = tmp_path / "marked.yaml"
    marked.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert yaml_tree.read(marked) == {"a": 1}


TREE = {"Loss": {"Train": [{"Margin": {"m": 1.0}}, {"Other": None}]}, "Model": {"name": "X"}}


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("Model.name=Y", ("Model", "name"), "Y"),
        ("Loss.Train.0.Margin.m=0.5", ("Loss", "Train", 0, "Margin", "m"), 0.5),
        ("Loss.Train.1={'A': 1}", ("Loss", "Train", 1), {"A": 1}),
        ("Loss.Train.1.Other.new=1", ("Loss", "Train", 1, "Other", "new"), 1),
        ("New.deep.key=1", ("New", "deep", "key"), 1),
        ("Model.path=a=b=c", ("Model", "path"), "a=b=c"),
        ("Model.x=5e-4", ("Model", "x"), 5e-4),
        ("Model.x=1/4", ("Model", "x"), 0.25),
        ("Model.x=(1, 2)", ("Model", "x"), [1, 2]),
        ("Model.x=[None, 3]", ("Model", "x"), [None, 3]),
        ("Model.x=True", ("Model", "x"), True),
        ("Model.x=false", ("Model", "x"), False),
        ("Model.x=None", ("Model", "x"), None),
        ("Model.x=null", ("Model", "x"), None),
        ("Model.x=", ("Model", "x"), None),
        ("Model.x='null'", ("Model", "x"), "null"),
        ("Model.x= text ", ("Model", "x"), "text"),
        ("Model.0=1", ("Model", "0"), 1),
        ("Model.x=[my_parts]", ("Model", "x"), ["my_parts"]),
        ("Model.x=[ a , b.c ]", ("Model", "x"), ["a", "b.c"]),
        ("Model.x=[a b]", ("Model", "x"), "[a b]"),
        ("Model.x=[a,]", ("Model", "x"), "[a,]"),
    ],
)
def test_overrides(assignment, path, value):
    node = yaml_tree.override(TREE, [assignment])
    for part in path:
        node = node[part]
    assert node == value and type(node) is type(value)


def test_overrides_apply_in_order_to_a_copy():
    tree = yaml_tree.override(TREE, ["A.b=1", "A.c=2", "A.b=3"])
    assert tree["A"] == {"b": 3, "c": 2}
    assert "A" not in TREE


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("Model.name", "-o 'Model.name': write it as Key.sub.key=value"),
        ("=1", "-o '=1': write it as"),
        ("Model..name=1", "write it as"),
        (".Model=1", "write it as"),
        ("Model.name.x=1", "Model.name is 'X', it holds no 'x'"),
        ("Loss.Train.0.Margin.m.x.y=1", "Loss.Train.0.Margin.m is 1.0, it holds no 'x'"),
        ("Loss.Train.2=1", "Loss.Train is a list of 2, its entries are 0 to 1, got '2'"),
        ("Loss.Train.-1=1", "its entries are 0 to 1, got '-1'"),
        ("Loss.Train.Margin.m=1", "its entries are 0 to 1, got 'Margin'"),
        ("Loss.Train.2.x=1", "its entries are 0 to 1, got '2'"),
        ("Model.x={1, 2}", "-o Model.x: {1, 2} is not text, a number, a list or a mapping"),
        ("Model.x={1: 2}", "-o Model.x: the key 1 must be text"),
    ],
)
def test_faulty_overrides(assignment, message):
    with pytest.raises(UserError, match=re.escape(message)):
        yaml_tree.override(TREE, [assignment])


def test_an_empty_list_has_no_entry_to_override():
    with pytest.raises(UserError, match="x is an empty list; assign the whole list"):
        yaml_tree.override({"x": []}, ["x.0=1"])


@settings(max_examples=100, deadline=None)
@given(st.lists(KEYS.filter(lambda key: not set(key) & {"=", "."} and key.strip() == key and key),
                min_size=1, max_size=4), VALUES)  # fmt: skip
def test_any_value_reaches_any_path_by_its_repr(parts, value):
    node = yaml_tree.override({}, [f"{'.'.join(parts)}={value!r}"])
    for part in parts:
        node = node[part]
    # repr(inf) is a name, which is text
    assert node == value or "inf" in repr(value)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_override_is_done_or_refused(text):
    try:
        yaml_tree.override(TREE, [text])
    except UserError as error:
        assert len(str(error).splitlines()) == 1


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab:-[]{}&*!|>'\"#%@,? \n\t0.e\x00é"), max_size=40))
def test_any_text_is_read_or_refused(text):
    try:
        yaml_tree.parse(text, "x.yaml")
    except UserError as error:
        assert len(str(error).splitlines()) == 1
