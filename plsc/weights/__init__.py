"""Other people's weights -> state dict, with the proof that they give the same outputs."""
