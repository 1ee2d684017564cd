"""What the stages cost, measured; see README.md here."""
