"""Ax's own choice of models through its client."""
