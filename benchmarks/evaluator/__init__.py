"""Whether the evaluation can be believed: simulations in which the truth is known."""
