"""Everything around the deployed functions: nested templates, operators' commands."""
