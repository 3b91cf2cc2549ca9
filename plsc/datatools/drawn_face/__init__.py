"""Faces drawn from numbers, with their boxes and landmarks."""
