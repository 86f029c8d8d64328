"""What trials ran on, and what they took."""
