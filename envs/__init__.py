"""Games: environments for contracting, markets and social norms."""
