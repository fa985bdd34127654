"""Is what we export what we promised? Bit for bit, byte for byte, instruction for instruction."""
