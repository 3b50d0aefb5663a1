"""The account and the Region that everything is in here."""

ACCOUNT = "123456789012"  # moto's own, so that its ARNs and the emulator's agree
REGION = "us-east-1"
