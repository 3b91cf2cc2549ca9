"""Backbones: faces float32 [b, 3, 112, 112], RGB, (x/255 - 0.5)/0.5 -> embeddings [b, d]."""
