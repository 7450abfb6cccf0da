"""MQTT: one session with a broker, and what publisher, courier and doctor do in it."""
