"""Games of markets and competition."""
