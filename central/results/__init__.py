"""What the centre gives to other systems about attendance: messages through the broker, and files."""
