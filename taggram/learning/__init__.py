"""How a network comes to know: prepared data, training, scores."""
