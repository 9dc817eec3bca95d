"""Random projections that keep inner products, without their matrix ever being held."""
