"""The status line and the browser view."""
