"""How fast is it? Scripts that print rates; no test is timed."""
