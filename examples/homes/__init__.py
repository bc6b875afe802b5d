"""Homes for sale: places on a map, prices for a square metre, and the agent who shows the home."""
