"""What a user writes: only public names, small enough for seconds, run by the tests."""
