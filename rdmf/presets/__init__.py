"""Presets: one YAML file each, read by `rdmf.config.load_config`."""
