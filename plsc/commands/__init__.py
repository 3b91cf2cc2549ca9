"""The commands that use a trained model: plsc-embed, plsc-compare."""
