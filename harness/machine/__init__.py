"""What a run used: device, seconds, memory, versions."""
