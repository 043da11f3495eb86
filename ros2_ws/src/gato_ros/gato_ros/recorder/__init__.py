"""The recorder: topics to rosbag2 folders."""
