import pytest

from plsc.data.sets.bin_file import read_bin
from plsc.datatools import bin_writer
from plsc.datatools.bin_writer import write_bin
from plsc.errors import UserError


@pytest.mark.parametrize("damage", ["image", "label"])
def test_what_does_not_read_back_is_not_kept(tmp_path, monkeypatch, damage):
    def misread(path):
        images, issame = read_bin(path)
        if damage == "image":
            images[1] = b"bits fell over"
        else:
            issame[0] = not issame[0]
        return images, issame

    write_bin(tmp_path / "a.bin", iter([b"1", b"2"]), [True])
    monkeypatch.setattr(bin_writer, "read_bin", misread)
    with pytest.raises(UserError, match=r"a\.bin: does not read back as it was written"):
        write_bin(tmp_path / "a.bin", iter([b"3", b"4"]), [False])
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
    assert read_bin(tmp_path / "a.bin")[0] == [b"1", b"2"]
