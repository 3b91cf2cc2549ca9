"""YAML file and overrides -> checked sections: keys, names, ranges, before a device is touched."""
