"""What several outside tests share besides the lab."""
