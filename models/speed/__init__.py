"""How a network computes fast on the machine at hand, and what that costs in accuracy."""
