"""A face drawn from numbers: parameters -> geometry -> paint -> light and camera."""
