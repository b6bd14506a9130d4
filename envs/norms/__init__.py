"""Games of commons, cooperation and social norms."""
