"""The other services of AWS, as moto serves them, and who may ask them."""
