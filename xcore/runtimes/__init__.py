"""Where plugins run: the two seams (`Runtime`, `Engine`) and what implements them."""
