"""A config file of PLSC's habits, or of another text, loaded with overrides."""

import pytest
from places import GOLDEN

from plsc.config.load import load_config


@pytest.fixture
def load(tmp_path):
    def load(*overrides, text=None):
        path = tmp_path / "x.yaml"
        path.write_text((GOLDEN / "plsc_face.yaml").read_text() if text is None else text)
        return load_config(path, overrides)

    return load
