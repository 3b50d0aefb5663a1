"""From a SAM template to what there is to serve."""
