"""What computes terms: modules of torch, apart from the configs that describe them."""
