"""What is computed without a broker: steps of the pure room, list formats, tenants, how much to order."""
