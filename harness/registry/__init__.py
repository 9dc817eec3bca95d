"""The registry: components on offer, their specs, options and contracts."""
