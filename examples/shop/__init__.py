"""A shop: products with their seller, their categories, and what their reviews say together."""
