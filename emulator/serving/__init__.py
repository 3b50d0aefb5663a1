"""What every port of the emulator is served with: the server, and who may ask."""
