"""The policy as a managed node, and its control loop."""
