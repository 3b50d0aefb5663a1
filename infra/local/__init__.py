"""Where the emulator was."""
