"""Which sampler is better, on what, and how sure is that? Problems x samplers x seeds, and the tables made of them."""
