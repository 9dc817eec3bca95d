"""From a suite to cells with keys."""
