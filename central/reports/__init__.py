"""What the centre has judged, for people: why a day is as it is."""
