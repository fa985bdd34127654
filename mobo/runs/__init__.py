"""What is on disk of a run, and what is done with it afterwards."""
