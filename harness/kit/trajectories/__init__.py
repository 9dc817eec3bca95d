"""Learns inputs on which a few training steps end where many steps on real data end."""
