"""What several rooms' tests share."""

import pytest
import torch_files


@pytest.fixture(scope="session")
def write_torch():
    """(path, content) -> the path, written as torch.save does; numpy arrays become tensors."""
    return torch_files.write_torch
