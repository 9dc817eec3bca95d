"""The conformance kits that plugin authors run."""
