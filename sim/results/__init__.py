"""What episodes came to: rates with intervals, curves, pages and videos."""
