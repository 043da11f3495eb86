"""Data of other tools as episodes: LeRobot, robomimic, rosbag2."""
