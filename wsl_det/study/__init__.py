"""Studies: arms, learning rates and seeds trained under one plan, ending in gain reports and a table."""
