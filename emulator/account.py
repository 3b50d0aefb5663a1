"""The account and the Region that everything is in here."""

ACCOUNT = "123456789012"
REGION = "us-east-1"
