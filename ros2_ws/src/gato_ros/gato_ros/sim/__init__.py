"""The simulated robot behind the topics of a real one."""
