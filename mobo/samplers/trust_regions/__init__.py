"""Trust regions and the candidates inside them."""
