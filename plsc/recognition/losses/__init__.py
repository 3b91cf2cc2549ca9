"""Margins on the angle between an embedding and its class centre."""
