"""ROS 2 nodes of the stack: the policy, the simulated robot and a status view."""
