"""From LLB to work: loading definitions into vertices, and the ops that they run."""
