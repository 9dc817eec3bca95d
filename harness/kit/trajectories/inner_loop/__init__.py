"""The inner loop as a function of the synthetic data that it trains on, and its gradient."""
