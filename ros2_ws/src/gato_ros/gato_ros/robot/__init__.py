"""The robot as the parameters declare it, and the commands its controllers take."""
