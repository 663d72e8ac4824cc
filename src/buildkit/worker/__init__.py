"""What ops work with: a frozen record of parts, and which platforms run here."""
