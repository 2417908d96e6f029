"""What happens in the shop by itself, one executor of each kind, one module each."""
