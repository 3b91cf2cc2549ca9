"""`~` and environment variables in the paths of a config."""

import pytest

from plsc.config.expanded import UnknownName, expand
from plsc.config.schema import FilePath, check
from plsc.config.sections import GlobalConfig


def test_home_and_variables_are_expanded_in_paths_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DATA", "/pictures")
    monkeypatch.chdir(tmp_path)
    assert check("~/runs", FilePath, "k") == f"{tmp_path}/runs"
    assert check(["$DATA/a", "${DATA}b"], FilePath | list[FilePath], "k") == [
        "/pictures/a",
        "/picturesb",
    ]
    assert check(None, FilePath | None, "k") is None
    assert check("~/runs", str, "k") == "~/runs"
    (tmp_path / "$DATA").mkdir()
    assert expand("$DATA") == "$DATA"  # it is there


@pytest.mark.parametrize(
    ("path", "said"), [("$NONE_SUCH/a", "NONE_SUCH is not set"), ("~nobody0/a", "no home")]
)
def test_what_stands_for_nothing_is_named(path, said):
    with pytest.raises(UnknownName, match=f"^Global.output_dir: .*{said}"):
        check(path, GlobalConfig.__annotations__["checkpoint"], "Global.output_dir")
