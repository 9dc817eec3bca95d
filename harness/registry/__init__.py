"""What plugins have on offer, how it is named, what it must keep."""
