"""What a run leaves on the disk, and how it survives kills, full disks and second owners."""
