"""Games of contract theory."""
