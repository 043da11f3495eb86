"""What people look at: status line and browser."""
