"""What must hold before a command leaves: limits, fresh and living streams."""
