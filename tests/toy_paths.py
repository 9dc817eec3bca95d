"""Where the toy plugin and its suite lie."""

from pathlib import Path

TOY_PLUGIN = str(Path(__file__).with_name("toy_plugin.py"))
TOY_SUITE = Path(__file__).with_name("toy.toml")
