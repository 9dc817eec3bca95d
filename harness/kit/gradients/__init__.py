"""Per-example gradients, their random projections, and the influence of one row on another."""
