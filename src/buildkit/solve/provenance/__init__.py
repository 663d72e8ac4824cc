"""What a result was made from, as SLSA provenance tells it (rows E100 to E108)."""
