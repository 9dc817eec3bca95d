"""Conformance kits for plugin authors, and toy components."""
