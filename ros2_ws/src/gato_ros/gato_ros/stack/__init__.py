"""All nodes together, started and ended: `gato stack`."""
